from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.preprocessing import LabelEncoder, StandardScaler

from pathomix.core.errors import PathomixError
from pathomix.representations.measurements import ClinicalScaling, GeneScaling, moments

IDS = [f"P{i}" for i in range(6)]
PATHWAYS = {"first": ("A", "B"), "second": ("B", "C", "GONE"), "third": ("GONE",)}


@pytest.fixture
def expression():
    generator = np.random.default_rng(0)
    values = generator.normal(3, 2, size=(6, 4)).astype(np.float32)
    frame = pd.DataFrame(values, index=IDS, columns=["A", "B", "C", "UNUSED"])
    frame["C"] = 5.0
    return frame


def test_inputs_are_z_scores_pathway_by_pathway(expression):
    scaling = GeneScaling.fit(expression, PATHWAYS, None)
    assert scaling.genes == ("A", "B", "C")
    assert list(scaling.pathways) == ["first", "second"]
    expected = StandardScaler().fit_transform(expression[["A", "B"]].astype(float))
    rows = scaling.rows(expression).to_numpy()
    np.testing.assert_allclose(rows[:, [0, 1]], expected, rtol=1e-5)
    np.testing.assert_array_equal(rows[:, 2], rows[:, 1])
    assert (rows[:, 3] == 0).all(), "a constant gene is 0, here and in any other patient"
    assert (scaling.rows(expression + 100)[3] == 0).all()


def test_pathways_without_a_gene_are_named(expression, caplog):
    GeneScaling.fit(expression, PATHWAYS, None)
    assert "1 of 3 pathways have no measured gene and are left out: third" in caplog.text


def test_clip_bounds_outliers(expression):
    assert GeneScaling.fit(expression, PATHWAYS, 0.5).rows(expression * 50).abs().to_numpy().max() == 0.5


def test_unknown_values_stand_at_the_mean_and_patients_without_any_are_absent(expression):
    scaling = GeneScaling.fit(expression, PATHWAYS, None)
    expression.loc["P1", "A"] = np.nan
    expression.loc["P2"] = np.nan
    rows = scaling.rows(expression)
    assert "P2" not in rows.index
    assert rows.loc["P1", 0] == 0
    assert rows.loc["P1", 1] != 0
    known = GeneScaling.fit(expression, PATHWAYS, None)
    np.testing.assert_allclose(known.mean[0], expression["A"].mean(), rtol=1e-6)
    np.testing.assert_allclose(known.sd[0], expression["A"].std(ddof=0), rtol=1e-6)


def test_moments_do_not_depend_on_memory_layout():
    values = np.random.default_rng(1).normal(size=(501, 40))
    for first, second in zip(moments(values), moments(np.asfortranarray(values)), strict=True):
        assert (first == second).all()


def test_refitted_keeps_the_genes(expression):
    scaling = GeneScaling.fit(expression, PATHWAYS, None)
    other = (expression * 2 + 1).drop(columns="B")
    refitted = scaling.refitted(other)
    rows = refitted.rows(other)
    np.testing.assert_allclose(rows[0], scaling.rows(expression)[0], rtol=1e-5)
    assert (rows[1] == 0).all()


def test_state_round_trip(expression):
    scaling = GeneScaling.fit(expression, PATHWAYS, 4.0)
    loaded = GeneScaling.load(*scaling.state())
    pd.testing.assert_frame_equal(loaded.rows(expression), scaling.rows(expression), check_exact=True)
    assert loaded.clip == 4.0


def test_one_patient_has_no_standard_deviation(expression):
    with pytest.raises(PathomixError, match="expression of 1 patients"):
        GeneScaling.fit(expression[:1], PATHWAYS, None)


@pytest.fixture
def patients():
    return pd.DataFrame(
        {
            "age": [50.0, 60, 80, 40, 70, np.nan],
            "stage": ["Stage IIA", "Stage I", "Stage IV", None, "Stage IIIB", "Stage X"],
            "clinical_t": ["T2a", "T1", "Tis", "T4", "TX", "T3"],
            "clinical_n": ["N0", "N1mi", "N2", "N0 (i+)", None, "N3"],
            "clinical_m": ["M0", "M0", "M1", "MX", "M0", "M0"],
            "time": 1.0,
            "event": 1,
        },
        index=IDS,
    )


def test_labels_are_alphabetical_codes_with_missing_last(patients):
    rows = ClinicalScaling.fit(patients, "labels").rows(patients)
    assert list(rows.index) == IDS[:5], "without an age there is no released clinical vector"
    np.testing.assert_allclose(rows["age"], [50 / 80, 60 / 80, 1, 0.5, 70 / 80], rtol=1e-6)
    known = ["II", "I", "IV", "III", "X"]
    codes = dict(zip(known, LabelEncoder().fit_transform(known), strict=True))
    assert rows["stage"].tolist() == [codes["II"], codes["I"], codes["IV"], 5, codes["III"]]
    assert rows["n"].tolist() == [0, 1, 2, 0, 4]


def test_ranks_are_ordered_standardised_and_the_same_for_any_cohort(patients):
    scaling = ClinicalScaling.fit(patients[:3], "ranks")
    rows = scaling.rows(patients)
    assert list(rows.index) == IDS
    ordered = rows.loc[["P1", "P0", "P4", "P2"], "stage"].to_numpy()
    assert (np.diff(ordered) > 0).all()
    np.testing.assert_allclose(np.diff(ordered), np.diff(ordered)[0], rtol=1e-5)
    assert rows.loc["P3", "stage"] == rows.loc["P5", "stage"] == rows.loc["P5", "age"] == 0
    np.testing.assert_allclose(rows.loc["P3", "age"], (40 - 190 / 3) / np.std([50, 60, 80]), rtol=1e-5)
    loaded = ClinicalScaling.load(*scaling.state())
    pd.testing.assert_frame_equal(loaded.rows(patients), rows)


def test_labels_need_an_age(patients):
    with pytest.raises(PathomixError, match="no patient has an age"):
        ClinicalScaling.fit(patients.assign(age=np.nan), "labels")
