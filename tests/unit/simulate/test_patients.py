from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter

from pathomix.simulate.oracle import ORACLES, concordance
from pathomix.simulate.parameters import CohortParameters, Parameters
from pathomix.simulate.patients import CONTRIBUTIONS, UNCLASSIFIABLE, Patients, draw_patients


def large(patients: int = 4000, **changes: object) -> Patients:
    """A cohort large enough to see the calibration without sampling error."""
    cohorts = {"sim_a": CohortParameters(patients, ("Acinar", "Solid"))}
    return draw_patients(dataclasses.replace(Parameters(), cohorts=cohorts, **changes), "sim_a")  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def drawn() -> Patients:
    return large()


def reached(truth: pd.DataFrame, name: str) -> float:
    ones = np.ones((1, len(truth)))
    event = truth["event"].to_numpy().astype(bool)
    return float(concordance(truth["time"].to_numpy(), event, truth[name].to_numpy(), ones)[0])


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("total", 0.82, 0.85),
        ("image", 0.67, 0.71),
        ("expression", 0.65, 0.69),
        ("alterations", 0.61, 0.66),
        ("clinical", 0.57, 0.61),
        ("site", 0.50, 0.56),
    ],
)
def test_each_modality_reaches_what_it_should(drawn: Patients, name: str, low: float, high: float) -> None:
    assert low < reached(drawn.truth, name) < high


def test_default_cohorts_are_in_the_stated_ranges() -> None:
    parameters = Parameters()
    for cohort in parameters.cohorts:
        truth = draw_patients(parameters, cohort).truth
        assert 0.79 < reached(truth, "total") < 0.88
        assert 0.66 <= truth["event"].mean() <= 0.80


def test_cox_regression_recovers_the_hazard(drawn: Patients) -> None:
    columns = [*CONTRIBUTIONS, "time", "event"]
    fitted = CoxPHFitter().fit(drawn.truth[columns], "time", "event").summary
    assert (np.abs(fitted["coef"] - 1) < 4 * fitted["se(coef)"]).all()


def test_contributions_add_up_and_are_independent(drawn: Patients) -> None:
    parts = drawn.truth[list(CONTRIBUTIONS)]
    np.testing.assert_allclose(parts.sum(axis=1), drawn.truth["total"])
    correlation = parts.corr().to_numpy()[np.triu_indices(len(CONTRIBUTIONS), 1)]
    assert np.abs(correlation).max() < 4 / np.sqrt(len(parts))


def test_every_mechanism_of_censoring_occurs_and_depends_on_what_it_says(drawn: Patients) -> None:
    mechanism = drawn.truth["mechanism"]
    assert set(mechanism) == {"event", "study end", "lost at random", "lost with age", "site closed"}
    age = drawn.clinical["age_at_diagnosis_years"]
    assert age[mechanism == "lost with age"].mean() > age[mechanism == "lost at random"].mean() + 3
    assert drawn.clinical.index[mechanism == "site closed"].str[5:7].nunique() < len(drawn.site_names) / 2


def test_class_prevalence_differs_between_uneven_sites(drawn: Patients) -> None:
    sizes = np.bincount(drawn.site)
    assert 6 <= len(sizes) <= 8 and sizes.max() > 2.5 * sizes.min()
    first = drawn.truth["class"] == "Acinar"
    share = first.groupby(drawn.site).mean()
    assert share.max() - share.min() > 0.15


def test_stage_follows_the_hazard_and_grade_the_morphology(drawn: Patients) -> None:
    stage = drawn.clinical["ajcc_pathologic_stage"]
    hazard = drawn.truth["total"].groupby(stage).mean()
    assert hazard.is_monotonic_increasing and list(hazard.index) == ["Stage I", "Stage II", "Stage III", "Stage IV"]
    extent = drawn.truth["extent"].groupby(drawn.clinical["neoplasm_histologic_grade"]).mean()
    assert extent.is_monotonic_increasing
    assert 0.03 < stage.isna().mean() < 0.09


def test_class_is_the_usual_dominant_pattern_but_not_always(drawn: Patients) -> None:
    known = drawn.truth["class"].notna()
    right = (drawn.truth["pattern_0"] > 0.5)[known] == (drawn.truth["class"] == "Acinar")[known]
    assert 0.85 < right.mean() < 0.95
    assert UNCLASSIFIABLE in set(drawn.clinical["primary_diagnosis"]) and (~known).mean() < 0.05


def test_permuted_outcomes_are_predicted_by_nothing() -> None:
    plain, permuted = large(2000), large(2000, permute_outcomes=True)
    ones = np.ones((1, len(plain.truth)))
    for name in ORACLES:
        truth = permuted.truth
        c = concordance(truth["time"].to_numpy(), truth["event"].to_numpy() == 1, truth[name].to_numpy(), ones)[0]
        # Standard error of a concordance without association: sqrt(1 / (9 n)), a little more under censoring.
        assert abs(c - 0.5) < 4 * 0.4 / np.sqrt(len(truth))
    first = permuted.truth["class"] == "Acinar"
    assert abs(np.corrcoef(first, permuted.truth["pattern_0"])[0, 1]) < 4 / np.sqrt(len(first))
    stage = permuted.clinical["ajcc_pathologic_stage"].map(lambda s: len(s) if isinstance(s, str) else np.nan)
    days = permuted.clinical["days"].rank()
    assert abs(days.corr(stage)) < 4 / np.sqrt(len(first))
    for column in ("days", "primary_diagnosis", "ajcc_pathologic_stage"):
        assert sorted(plain.clinical[column].dropna()) == sorted(permuted.clinical[column].dropna())
    pairs = [set(zip(p.clinical["days"], p.clinical["mechanism"], strict=True)) for p in (plain, permuted)]
    assert pairs[0] == pairs[1]
    pd.testing.assert_frame_equal(plain.truth[list(CONTRIBUTIONS)], permuted.truth[list(CONTRIBUTIONS)])


def test_ids_are_barcodes_that_never_clash_between_cohorts(small: Parameters) -> None:
    ids = [set(draw_patients(small, name).clinical.index) for name in small.cohorts]
    assert not ids[0] & ids[1] and not ids[0] & ids[2] and not ids[1] & ids[2]
    assert all(pd.Series(sorted(i)).str.fullmatch(r"SIMU-[A-Z]\d-\d{4}").all() for i in ids)
