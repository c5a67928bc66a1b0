"""Names of methods to where they live.

A new method is one file and one line here. No other module imports this table when it is loaded (`methods.build` asks
for it by name at run time), so that a new line is no change of the other methods' code.
"""

from __future__ import annotations

from collections.abc import Mapping

METHODS: Mapping[str, str] = {
    "abmil": "pathomix.methods.abmil:ABMILMethod",
    "clam": "pathomix.methods.clam:CLAMMethod",
    "clinical": "pathomix.methods.clinical:Clinical",
    "deep_attn_misl": "pathomix.methods.deep_attn_misl:DeepAttnMISLMethod",
    "deep_sets": "pathomix.methods.deep_sets:DeepSetsMethod",
    "gene_mixer": "pathomix.methods.gene_mixer:GeneMixerMethod",
    "gigapath_tuned": "pathomix.methods.gigapath_tuned:GigaPathTuned",
    "late_fusion": "pathomix.methods.late_fusion:LateFusion",
    "mcat": "pathomix.methods.mcat:MCATMethod",
    "mlp": "pathomix.methods.mlp:MLP",
    "path_gptomic": "pathomix.methods.path_gptomic:PathGPTomic",
    "pathomic_fusion": "pathomix.methods.pathomic_fusion:PathomicFusionMethod",
    "probe": "pathomix.methods.probe:Probe",
    "ridge": "pathomix.methods.ridge:Ridge",
    "s_mlp": "pathomix.methods.s_mlp:SMLP",
    "snn": "pathomix.methods.snn:SNN",
    "survpath": "pathomix.methods.survpath:SurvPathMethod",
    "transmil": "pathomix.methods.transmil:TransMILMethod",
}
