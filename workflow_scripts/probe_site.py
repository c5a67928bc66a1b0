"""Probe how well tile features, or vectors of a representation, tell the tissue source site of a cohort's patients."""

from __future__ import annotations

import argparse
from pathlib import Path

from pathomix.core import script


def main(options: argparse.Namespace) -> None:
    """Probe one encoder on one cohort."""
    from pathomix.core.schemas import PATIENTS
    from pathomix.core.tables import read_table
    from pathomix.evaluate.site_probe import mean_features, write_site_probe

    patients = read_table(options.patients, PATIENTS).set_index("patient_id")
    if options.features:
        from pathomix.slides.feature_store import FeatureStore

        # Every bag is read once: nothing is kept.
        vectors = mean_features(FeatureStore(options.features, options.results, cache_bytes=0), list(patients.index))
    else:
        from pathomix.representations.store import EmbeddingStore

        vectors = EmbeddingStore({0: options.vectors}, options.token, held_out=False).of(options.fold, 0)
    files = options.features or [options.vectors]
    inputs = {"patients": options.patients, **{f"vectors{n or ''}": path for n, path in enumerate(files)}}
    names = {"encoder": options.encoder, "cohort": options.cohort}
    write_site_probe(vectors, patients, names, options.parameters, inputs, options.output)


if __name__ == "__main__":
    arguments = script.parser(__doc__ or "")
    arguments.add_argument("--encoder", required=True, help="whose vectors they are: an encoder or a representation")
    arguments.add_argument("--cohort", required=True)
    arguments.add_argument("--patients", required=True, type=Path, help="patients.parquet")
    given = arguments.add_mutually_exclusive_group(required=True)
    given.add_argument("--features", type=Path, nargs="+", help="merged feature indices of the cohort")
    given.add_argument("--vectors", type=Path, help="embeddings of the cohort (h5ad)")
    arguments.add_argument("--fold", type=int, default=0, help="of --vectors; a frozen encoder's are equal in all")
    arguments.add_argument("--token", default="general", help="which of the vectors of --vectors")
    arguments.add_argument(
        "--parameters", type=script.json_object, default={}, help="JSON object: see evaluate.site_probe.Settings"
    )
    arguments.add_argument("--results", required=True, type=Path)
    arguments.add_argument(
        "--output", required=True, type=Path, help="evaluation/site_probe/<encoder>/<cohort>.parquet"
    )
    script.run(main, arguments)
