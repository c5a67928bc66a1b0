from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from lifelines import KaplanMeierFitter

from pathomix.cohort.split_audit import audit_path, audit_splits, median_follow_up, write_audit


def cohort():
    """Two sites; the test part {P0, P1, P4} takes two of site A's four patients and all of site B."""
    return pd.DataFrame(
        {
            "patient_id": [f"P{i}" for i in range(8)],
            "time": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, np.nan],
            "event": pd.array([1, 0, 1, 0, 1, 0, 0, None], dtype="Int8"),
            "class_label": pd.Series(["x", "x", "y", "x", "y", "x", None, "x"], dtype=object),
            "tissue_source_site": pd.Series(["A", "A", "A", "A", "B", "C", "C", None], dtype=object),
        }
    )


def splits():
    parts = ["test", "test", "train", "valid", "test", "train", "valid"]
    return pd.DataFrame({"fold": 0, "patient_id": [f"P{i}" for i in range(7)], "part": parts})


def audited(**summary):
    return audit_splits(splits(), cohort(), name="toy", parameters={"scheme": "mine"}, summary=summary)


def test_counts_of_cohort_and_parts():
    audit = audited()
    whole, test = audit["cohort"], audit["folds"][0]["parts"]["test"]
    assert (whole["patients"], whole["events"], whole["unknown_outcome"], whole["without_site"]) == (8, 3, 1, 1)
    assert whole["event_share"] == pytest.approx(3 / 7, abs=1e-6)
    assert whole["classes"] == {"x": 5, "y": 2, "unknown": 1} and whole["sites"] == {"A": 4, "C": 2, "B": 1}
    assert (test["patients"], test["events"], test["classes"]) == (3, 2, {"x": 2, "y": 1})
    assert test["sites"] == {"A": 2, "B": 1}
    assert audit["folds"][0]["patients_without_part"] == 1


def test_sites_on_two_sides():
    two = audited()["folds"][0]["sites_on_two_sides"]
    assert two["test"] == {"sites": 1, "patients": 2, "names": ["A"]}
    assert two["valid"] == {"sites": 2, "patients": 2, "names": ["A", "C"]}
    assert audited()["worst"]["test_sites_on_two_sides"] == 1
    assert audited()["worst"]["test_patients_on_two_sides"] == 2


@pytest.mark.parametrize("other", ["train", "valid"])
def test_the_other_side_is_train_and_valid(other):
    parts = ["test", other, *["train" if other == "valid" else "valid"] * 3, "test", "test"]
    rows = pd.DataFrame({"fold": 0, "patient_id": ["P0", "P1", "P4", "P5", "P6", "P2", "P3"], "part": parts})
    (fold,) = audit_splits(rows, cohort(), name="toy", parameters={}, summary={})["folds"]
    assert fold["sites_on_two_sides"]["test"] == {"sites": 1, "patients": 3, "names": ["A"]}


def test_imbalance_in_points():
    imbalance = audited()["folds"][0]["imbalance"]
    assert imbalance["event_share_points"] == pytest.approx(100 * (2 / 3 - 3 / 7), abs=1e-2)
    # x: 2/3 - 5/8, y: 1/3 - 2/8, none: 0 - 1/8.
    assert imbalance["largest_class"] == "unknown" and imbalance["largest_class_points"] == -12.5
    # Quarters of the seven known times begin at 2, 4 and 6: {1}, {2, 3}, {4, 5}, {6, 7}; tested are times 1, 2 and 5.
    assert imbalance["largest_follow_up_quarter"] == 3
    assert imbalance["largest_follow_up_points"] == pytest.approx(-100 * 2 / 7, abs=1e-2)


def test_the_worst_keeps_its_sign_and_what_the_scheme_says_is_passed_on():
    other = splits().assign(fold=1, part=["train", "test", "test", "train", "train", "test", "test"])
    audit = audit_splits(
        pd.concat([splits(), other]), cohort(), name="toy", parameters={}, summary={"relaxed": [1], "notes": ["n"]}
    )
    assert audit["worst"]["event_share_points"] == pytest.approx(100 * (2 / 3 - 3 / 7), abs=1e-2)
    assert audit["folds"][1]["imbalance"]["event_share_points"] == pytest.approx(100 * (1 / 4 - 3 / 7), abs=1e-2)
    milder = splits().assign(fold=2, part=["test", "test", *["train"] * 5])
    worst = audit_splits(pd.concat([other, milder]), cohort(), name="toy", parameters={}, summary={})["worst"]
    assert worst["event_share_points"] == pytest.approx(100 * (1 / 4 - 3 / 7), abs=1e-2)
    assert (audit["relaxed"], audit["notes"], audit["solver"], audit["unavoidable"]) == ([1], ["n"], [], [])


def test_a_fold_without_test_part_or_outcomes_says_none_not_zero():
    table = cohort().assign(event=pd.array([None] * 8, dtype="Int8"))
    audit = audit_splits(splits(), table, name="toy", parameters={}, summary={})
    assert audit["folds"][0]["imbalance"]["event_share_points"] is None and audit["worst"]["event_share_points"] is None
    assert audit["folds"][0]["parts"]["test"]["median_follow_up_months"] is None
    train_only = audit_splits(splits().assign(part="train"), cohort(), name="toy", parameters={}, summary={})
    assert set(train_only["folds"][0]["imbalance"].values()) == {None}


@pytest.mark.parametrize("seed", range(5))
def test_median_follow_up_is_the_reverse_kaplan_meier_median(seed):
    random = np.random.default_rng(seed)
    time, event = pd.Series(random.exponential(20, 60)), pd.Series(random.random(60) < 0.4).astype("Int8")
    expected = KaplanMeierFitter().fit(time, (event == 0).astype(int)).median_survival_time_
    assert median_follow_up(time, event) == pytest.approx(expected)


def test_median_follow_up_at_ties_and_without_censoring():
    # At 2 months one dies and one is censored: the death comes first, so one of two at risk is censored.
    time, event = pd.Series([1.0, 2.0, 2.0, 3.0]), pd.Series([1, 1, 0, 0], dtype="Int8")
    assert median_follow_up(time, event) == 2.0
    assert median_follow_up(time, pd.Series([1] * 4, dtype="Int8")) is None


def test_written_audit_is_the_same_every_time(tmp_path):
    path = audit_path(tmp_path / "cv.parquet")
    assert path.name == "cv.audit.json"
    (tmp_path / "in").write_text("x")
    written = []
    for _ in range(2):
        write_audit(splits(), cohort(), path, name="t", parameters={"a": 1}, summary={}, inputs={"in": tmp_path / "in"})
        written.append(path.read_bytes())
    assert written[0] == written[1]
    lineage = json.loads(written[0])["provenance"]
    assert lineage["artifact"] == "split_audit" and lineage["parameters"] == {"name": "t", "a": 1} and lineage["inputs"]
