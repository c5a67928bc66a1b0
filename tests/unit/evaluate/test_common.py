from __future__ import annotations

import numpy as np
import pytest
from lifelines.utils import concordance_index

from pathomix.evaluate.common import common_patients
from pathomix.evaluate.predictions import read_runs
from pathomix.evaluate.scores import Parameters, evaluate


@pytest.fixture
def cohorts(hand_made):
    return {"north": hand_made.cohort_table("north", 90, 1)}


@pytest.fixture
def gaps(hand_made, cohorts, tmp_path):
    """`good` lacks every third patient, `noise` every fifth; `broken` failed in fold 0."""
    lost = {"good": 3, "noise": 5}

    def change(row, frame):
        numbers = frame["patient_id"].str[-4:].astype(int)
        gone = (numbers % lost.get(str(row["method"]), 10**6) == 0) & (frame["task"] == "survival")
        return frame.assign(risk=frame["risk"].mask(gone))

    failed = {("broken", name, 0): "no event" for name in cohorts}
    methods = {"good": 0.9, "noise": 0.2, "broken": 0.5}
    return read_runs(hand_made.write_study(tmp_path, methods, cohorts, change=change, failed=failed), tmp_path)


def test_all_rows_are_scored_on_the_patients_that_every_row_predicts(gaps):
    kept = common_patients(gaps).expected
    survival = kept[kept["task"] == "survival"]
    before = gaps.expected[gaps.expected["task"] == "survival"]
    numbers = before["patient_id"].str[-4:].astype(int)
    wanted = before[(numbers % 3 != 0) & (numbers % 5 != 0)]
    keys = ["cohort", "fold", "patient_id"]
    assert set(map(tuple, survival[keys].to_numpy())) == set(map(tuple, wanted[keys].to_numpy()))
    assert len(kept[kept["task"] == "subtype"]) == len(gaps.expected[gaps.expected["task"] == "subtype"])


def test_scores_stand_on_them_and_say_so(gaps):
    folds, scores = evaluate(gaps, Parameters(bootstrap=100, patients="common"))
    mine = scores[(scores["metric"] == "c_index") & (scores["method"] == "good")].iloc[0]
    assert mine["patients"] == "common" and mine["n_missing"] == 0
    fold = folds[(folds["metric"] == "c_index") & (folds["method"] == "good") & (folds["fold"] == 1)].iloc[0]
    assert fold["cohort"] == mine["cohort"]
    test = gaps.predictions[(gaps.predictions["part"] == "test") & (gaps.predictions["task"] == "survival")]
    run = gaps.index[(gaps.index["method"] == "good") & (gaps.index["cohort"] == mine["cohort"])
                     & (gaps.index["fold"] == 1) & (gaps.index["task"] == "survival")]["run"].iloc[0]  # fmt: skip
    rows = test[test["run"] == run]
    numbers = rows["patient_id"].str[-4:].astype(int)
    rows = rows[(numbers % 3 != 0) & (numbers % 5 != 0)]
    assert fold["n_patients"] == len(rows)
    assert fold["value"] == pytest.approx(concordance_index(rows["time"], -rows["risk"], rows["event"]))


def test_a_failed_run_or_one_without_predictions_empties_nothing(hand_made, cohorts, tmp_path):
    def change(row, frame):
        silent = (row["method"] == "silent") & (frame["task"] == "survival")
        return frame.assign(risk=frame["risk"].mask(np.full(len(frame), silent)))

    runs = read_runs(hand_made.write_study(tmp_path, {"good": 0.9, "silent": 0.0}, cohorts, change=change), tmp_path)
    assert len(common_patients(runs).expected) == len(runs.expected)
    _, scores = evaluate(runs, Parameters(bootstrap=100, patients="common"))
    values = scores[scores["metric"] == "c_index"].set_index("method")["mean"]
    assert np.isfinite(values["good"]) and np.isnan(values["silent"])
