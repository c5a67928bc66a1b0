from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import nnls

from pathomix.simulate import expression
from pathomix.simulate.genes import CELL_TYPES, GENES, PATHWAYS, PROGNOSTIC
from pathomix.simulate.parameters import CohortParameters, Parameters
from pathomix.simulate.patients import Patients, draw_patients

COHORTS = {"sim_a": CohortParameters(300, ("Acinar", "Solid")), "sim_c": CohortParameters(100, ("T", "M"), ood=True)}
PARAMETERS = Parameters(cohorts=COHORTS)


@pytest.fixture(scope="module")
def patients() -> Patients:
    return draw_patients(PARAMETERS, "sim_a")


@pytest.fixture(scope="module")
def bulk(patients: Patients) -> expression.Bulk:
    return expression.tumour_samples(PARAMETERS, "sim_a", patients)


def recovered(profiles: np.ndarray, values: np.ndarray) -> np.ndarray:
    scale = 1 / profiles.std(axis=0)
    fitted = np.stack([nnls((profiles * scale).T, row * scale)[0] for row in values])
    return fitted / fitted.sum(axis=1, keepdims=True)


def test_noise_free_bulk_is_the_mixture(bulk: expression.Bulk) -> None:
    fitted = recovered(expression.cell_profiles(PARAMETERS), bulk.signal[:40])
    np.testing.assert_allclose(fitted, bulk.composition[:40], atol=1e-8)


def test_real_bulk_still_shows_the_composition_through_the_atlas(bulk: expression.Bulk) -> None:
    counts, kind, _ = expression.atlas_counts(PARAMETERS)
    scaled = counts / counts.sum(axis=1, keepdims=True)
    profiles = np.stack([scaled[kind == t].mean(axis=0) for t in range(len(expression.TYPES))])
    fitted = recovered(profiles, bulk.tpm)
    for t, name in enumerate(expression.TYPES):
        if bulk.composition[:, t].mean() > 0.06:
            assert np.corrcoef(fitted[:, t], bulk.composition[:, t])[0, 1] > 0.4, name


def test_atlas_cells_express_the_markers_of_their_type() -> None:
    counts, kind, donor = expression.atlas_counts(PARAMETERS)
    assert counts.dtype == np.int32 and counts.min() == 0 and counts.shape == (1500, len(GENES))
    assert set(kind) == set(range(8)) and set(donor) == set(range(6))
    scaled = counts / counts.sum(axis=1, keepdims=True)
    for t, pathways in enumerate(CELL_TYPES.values()):
        genes = [GENES.index(g) for name in pathways for g in PATHWAYS[name]]
        share = scaled[:, genes].sum(axis=1)
        others = [share[kind == other].mean() for other in range(8) if other != t]
        assert share[kind == t].mean() > 1.5 * max(others)


def test_programme_moves_its_pathways_and_no_other(patients: Patients, bulk: expression.Bulk) -> None:
    values = expression.log_tpm(bulk.tpm)
    means = {n: values[:, [GENES.index(g) for g in genes]].mean(axis=1) for n, genes in PATHWAYS.items()}
    correlation = {n: np.corrcoef(m, patients.programme)[0, 1] for n, m in means.items()}
    for name, sign in PROGNOSTIC.items():
        assert sign * correlation[name] > 0.5, name
    silent = [
        n
        for n in PATHWAYS
        if n not in PROGNOSTIC and not set(PATHWAYS[n]) & {g for p in PROGNOSTIC for g in PATHWAYS[p]}
    ]
    assert np.median(np.abs([correlation[n] for n in silent])) < 0.12


def test_sites_are_batches(patients: Patients, bulk: expression.Bulk) -> None:
    values = expression.log_tpm(bulk.tpm)
    within = np.mean([values[patients.site == s].var(axis=0).mean() for s in range(len(patients.site_names))])
    assert values.var(axis=0).mean() > within + 0.5 * PARAMETERS.effects.batch_shift**2


def test_normal_tissue_and_other_organs_differ(patients: Patients, bulk: expression.Bulk) -> None:
    normal = expression.normal_samples(PARAMETERS, "sim_a", patients, np.arange(30))
    assert normal.composition[:, 1].mean() > bulk.composition[:, 1].mean() + 0.05
    own, other = (expression.cell_profiles(PARAMETERS, ood) for ood in (False, True))
    assert not np.allclose(own[expression.TUMOUR], other[expression.TUMOUR])
    np.testing.assert_array_equal(own[1:], other[1:])


def test_second_vial_resembles_the_first(bulk: expression.Bulk, patients: Patients) -> None:
    rows = np.arange(10)
    second = expression.second_tumour_samples(PARAMETERS, "sim_a", bulk, rows)
    difference = np.log(second / bulk.tpm[rows])
    assert 0.1 < difference.std() < 0.2
