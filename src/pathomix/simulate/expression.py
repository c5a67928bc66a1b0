"""Bulk expression as a mixture of cell types, and the single-cell atlas of the same cell types.

The expected profile of a sample is ``sum_t composition[t] * profile[t]`` (linear scale), times ``exp`` of the activity
of its pathways, times the batch factor of its tissue source site, times the gene's own noise.
The prognostic programme and the growth patterns act on pathway activity and on the composition.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pathomix.simulate.genes import CELL_TYPES, GENES, PATHWAYS, PATTERN_PATHWAYS, PROGNOSTIC
from pathomix.simulate.parameters import Parameters
from pathomix.simulate.patients import Floats, Patients, site_names

TYPES: tuple[str, ...] = tuple(CELL_TYPES)
TUMOUR = 0

# Share of each cell type in an average tumour and in normal tissue (whose epithelial cells stand in first place).
_TUMOUR_COMPOSITION = (0.46, 0.20, 0.07, 0.09, 0.04, 0.03, 0.09, 0.02)
_NORMAL_COMPOSITION = (0.35, 0.34, 0.12, 0.05, 0.03, 0.03, 0.05, 0.03)
# log-ratio change of the composition per unit of the prognostic programme: macrophages rise, T and B cells fall.
_PROGRAMME_ON_COMPOSITION = (0.0, 0.0, 0.0, -0.35, -0.25, 0.0, 0.35, 0.0)
_COMPOSITION_NOISE = 0.35
_MARKER_FOLD = (6.0, 30.0)
# How tightly the activity of a prognostic or pattern pathway follows its latent score.
_LOADING = 0.85
# The panel is a part of the transcriptome: its share of a million transcripts.
_PANEL_TPM = 60_000.0


@dataclass(frozen=True)
class Bulk:
    """Expression of samples.

    Attributes:
        composition: [samples, cell types], rows sum to 1.
        signal: [samples, genes], expected TPM before pathway activity, batch and noise: the pure mixture.
        tpm: [samples, genes].
    """

    composition: Floats
    signal: Floats
    tpm: Floats


def cell_profiles(parameters: Parameters, ood: bool = False) -> Floats:
    """Linear expression of each cell type, [cell types, genes], each row summing to the panel's TPM.

    Out of distribution the epithelial cells are another organ's: their profile is shifted, the other types stay.
    """
    random = parameters.random("profiles")
    base = random.normal(3.0, 1.1, len(GENES))
    log_profile = base + 0.35 * random.standard_normal((len(TYPES), len(GENES)))
    position = {gene: i for i, gene in enumerate(GENES)}
    for t, pathways in enumerate(CELL_TYPES.values()):
        for name in pathways:
            genes = [position[gene] for gene in PATHWAYS[name]]
            log_profile[t, genes] += np.log(random.uniform(*_MARKER_FOLD, size=len(genes)))
    if ood:
        log_profile[TUMOUR] += 0.6 * parameters.random("profiles", "ood").standard_normal(len(GENES))
    profile = np.exp(log_profile)
    result: Floats = profile / profile.sum(axis=1, keepdims=True) * _PANEL_TPM
    return result


def tumour_samples(parameters: Parameters, cohort: str, patients: Patients) -> Bulk:
    """One tumour sample per patient."""
    random = parameters.random("expression", cohort)
    n = len(patients.programme)
    logits = np.log(_TUMOUR_COMPOSITION) + np.outer(patients.programme, _PROGRAMME_ON_COMPOSITION)
    composition = _softmax(logits + _COMPOSITION_NOISE * random.standard_normal(logits.shape))
    activity = random.standard_normal((n, len(PATHWAYS)))
    rest = np.sqrt(1 - _LOADING**2)
    names = list(PATHWAYS)
    for name, sign in PROGNOSTIC.items():
        k = names.index(name)
        activity[:, k] = sign * _LOADING * patients.programme + rest * activity[:, k]
    for pattern in range(patients.pattern_activity.shape[1]):
        for name in PATTERN_PATHWAYS[pattern]:
            k = names.index(name)
            activity[:, k] = _LOADING * patients.pattern_activity[:, pattern] + rest * activity[:, k]
    profiles = cell_profiles(parameters, parameters.cohort(cohort).ood)
    return _mix(parameters, cohort, random, composition, activity, patients.site, profiles)


def normal_samples(parameters: Parameters, cohort: str, patients: Patients, rows: NDArray[np.int64]) -> Bulk:
    """Normal tissue of the patients at `rows`: no programme, few pathway changes, another composition."""
    random = parameters.random("normal tissue", cohort)
    logits = np.log(_NORMAL_COMPOSITION) + 0.2 * random.standard_normal((len(rows), len(TYPES)))
    activity = 0.3 * random.standard_normal((len(rows), len(PATHWAYS)))
    profiles = cell_profiles(parameters, parameters.cohort(cohort).ood)
    return _mix(parameters, cohort, random, _softmax(logits), activity, patients.site[rows], profiles)


def second_tumour_samples(parameters: Parameters, cohort: str, first: Bulk, rows: NDArray[np.int64]) -> Floats:
    """TPM of another vial of the same tumours: the first one with new noise."""
    random = parameters.random("second vial", cohort)
    noise = 0.5 * parameters.effects.expression_noise * random.standard_normal((len(rows), len(GENES)))
    result: Floats = first.tpm[rows] * np.exp(noise)
    return result


def log_tpm(tpm: Floats) -> NDArray[np.float32]:
    """log2(TPM + 1), as GDC-Xena tables are."""
    return np.log2(tpm + 1.0).astype(np.float32)


def atlas_counts(parameters: Parameters) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    """Counts [cells, genes] of single cells, their cell type and their donor.

    Gamma-Poisson counts around the cell-type profile times a donor factor; every cell type is present in every donor.
    """
    settings, random = parameters.atlas, parameters.random("atlas")
    share = np.full(len(TYPES), 0.5 / len(TYPES)) + 0.5 * np.array(_TUMOUR_COMPOSITION)
    kind = np.sort(random.choice(len(TYPES), size=settings.cells, p=share / share.sum()))
    donor = np.arange(settings.cells) % settings.donors
    profile = cell_profiles(parameters)
    donor_factor = np.exp(0.2 * random.standard_normal((settings.donors, len(GENES))))
    expected = profile[kind] * donor_factor[donor]
    depth = settings.counts_per_cell * np.exp(0.4 * random.standard_normal((settings.cells, 1)))
    expected *= depth / expected.sum(axis=1, keepdims=True)
    counts = random.poisson(expected * random.gamma(4.0, 0.25, size=expected.shape))
    return counts.astype(np.int32), kind, donor


def _mix(
    parameters: Parameters,
    cohort: str,
    random: np.random.Generator,
    composition: Floats,
    activity: Floats,
    site: NDArray[np.int64],
    profiles: Floats,
) -> Bulk:
    effects, position = parameters.effects, {gene: i for i, gene in enumerate(GENES)}
    loading = np.zeros((len(PATHWAYS), len(GENES)))
    for k, genes in enumerate(PATHWAYS.values()):
        # A gene of several pathways shares its response among them, so that no gene's variance depends on their number.
        loading[k, [position[gene] for gene in genes]] = effects.pathway
    loading /= np.maximum(np.sqrt((loading > 0).sum(axis=0)), 1.0)
    batch_random = parameters.random("batch", cohort)
    sites = len(site_names(parameters, cohort))
    batch = effects.batch_shift * np.log(2) * batch_random.standard_normal((sites, len(GENES)))
    signal = composition @ profiles
    noise = effects.expression_noise * random.standard_normal(signal.shape)
    tpm = signal * np.exp(activity @ loading + batch[site] + noise)
    return Bulk(composition, signal, tpm)


def _softmax(logits: Floats) -> Floats:
    share = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: Floats = share / share.sum(axis=1, keepdims=True)
    return result
