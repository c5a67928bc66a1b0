"""Scores of small studies against numbers worked out another way."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pathomix.core.errors import PathomixError
from pathomix.evaluate.metrics import METRICS
from pathomix.evaluate.predictions import read_runs
from pathomix.evaluate.schemas import FOLD_SCORES, SCORES
from pathomix.evaluate.scores import Parameters, evaluate
from pathomix.survival.concordance import harrell_c

FEW = Parameters(bootstrap=100)


def cell(scores, method="a", metric="c_index", cohort="north"):
    return scores.query("method == @method and metric == @metric and cohort == @cohort").iloc[0]


@pytest.fixture
def cohorts(hand_made):
    return {"north": hand_made.cohort_table("north", 48, 1, ("A", "B", "C"))}


def test_means_and_spreads_keep_folds_and_seeds_apart(hand_made, cohorts, tmp_path):
    runs = read_runs(hand_made.write_study(tmp_path, {"a": 0.5}, cohorts, folds=4, seeds=3), tmp_path)
    folds, scores = evaluate(runs, FEW)
    FOLD_SCORES.validate(folds)
    SCORES.validate(scores)
    table = cohorts["north"]
    values = np.zeros((4, 3))
    for fold in range(4):
        for seed in range(3):
            frame = hand_made.predictions(table, 0.5, fold, 4, [0, fold, seed])
            test = frame[(frame["part"] == "test") & (frame["task"] == "survival")]
            values[fold, seed] = harrell_c(test["time"], test["event"], test["risk"])
    got = folds.query("metric == 'c_index'").pivot(index="fold", columns="seed", values="value").to_numpy()
    assert got == pytest.approx(values, abs=1e-12)
    row, by_fold = cell(scores), values.mean(axis=1)
    assert row["mean"] == pytest.approx(values.mean())
    assert row["sd_folds"] == pytest.approx(by_fold.std(ddof=1))
    low, high = stats.t.interval(0.95, 3, loc=by_fold.mean(), scale=stats.sem(by_fold))
    assert row["half_width"] == pytest.approx((high - low) / 2)
    assert row["sd_seeds"] == pytest.approx(values.mean(axis=0).std(ddof=1))
    assert row["lower"] < row["mean"] < row["upper"]
    assert (row["n_patients"], row["n_events"], row["n_missing"]) == (48, table["event"].sum(), 0)
    assert (row["folds_used"], row["folds_total"], row["seeds"], row["resamples"]) == (4, 4, 3, 100)
    assert row["reason"] is None


def test_a_patient_without_prediction_is_counted_and_named_and_the_rest_is_scored(hand_made, cohorts, tmp_path):
    def lose(row, frame):
        gone = frame["patient_id"].eq("SIMU-NO-0001")
        if row["method"] == "a":
            return frame.assign(risk=frame["risk"].mask(gone))
        # b leaves the patient out altogether: only the other method knows that it was to be tested.
        return frame[~gone]

    runs = read_runs(hand_made.write_study(tmp_path, {"a": 0.7, "b": 0.7}, cohorts, change=lose), tmp_path)
    folds, scores = evaluate(runs, FEW)
    for method in "ab":
        row = cell(scores, method)
        assert row["reason"] == "1 patient without prediction: SIMU-NO-0001"
        assert row["n_missing"] == 1 and row["n_patients"] == 48 and np.isfinite(row["mean"])
    frame = hand_made.predictions(cohorts["north"], 0.7, 0, 3, [0, 0, 0])
    kept = frame.query("part == 'test' and task == 'survival' and patient_id != 'SIMU-NO-0001'")
    value = folds.query("method == 'a' and fold == 0 and metric == 'c_index'")["value"].item()
    assert value == pytest.approx(harrell_c(kept["time"], kept["event"], kept["risk"]))


def test_missing_metrics_are_missing_with_their_fold_and_never_zero(hand_made, cohorts, tmp_path):
    def spoil(row, frame):
        test = frame["part"] == "test"
        if row["method"] == "constant":
            return frame.assign(risk=frame["risk"].where(~test, 1.0))
        if row["method"] == "empty":
            numbers = [c for c in frame if c == "risk" or c.startswith("probability_")]
            return frame.assign(**{c: frame[c].where(~test) for c in numbers})
        return frame

    failed = {("broken", "north", 1): "out of memory"}
    methods = {"constant": 0.5, "empty": 0.5, "broken": 0.9, "sound": 0.9}
    runs = read_runs(hand_made.write_study(tmp_path, methods, cohorts, change=spoil, failed=failed), tmp_path)
    folds, scores = evaluate(runs, FEW)
    for method, reason in (("constant", "risk is the same"), ("empty", "no test patient has a prediction")):
        row = cell(scores, method)
        assert row["reason"].startswith("every fold: ") and reason in row["reason"]
        assert row[["mean", "sd_folds", "half_width", "lower", "upper"]].isna().all()
        assert row["folds_used"] == 0
    assert cell(scores, "empty", "balanced_accuracy")["n_missing"] == 48
    assert cell(scores, "constant", "balanced_accuracy")["folds_used"] == 3
    broken = cell(scores, "broken")
    assert broken["reason"] == "fold 1: run failed: out of memory"
    assert (broken["folds_used"], broken["folds_total"], broken["n_missing"]) == (2, 3, 15)
    good = folds.query("method == 'broken' and metric == 'c_index' and fold != 1")["value"]
    assert broken["mean"] == pytest.approx(good.mean())
    assert (folds["value"].isna() == folds["reason"].notna()).all()
    assert not (scores["mean"] == 0).any() and not (folds["value"] == 0).any()


def test_an_all_censored_fold_and_an_absent_class_leave_only_that_fold_out(hand_made, cohorts, tmp_path):
    table = cohorts["north"]
    first = np.arange(len(table)) // 3 % 3 == 0
    table.loc[first, "event"] = 0
    table.loc[first & (table["class_label"] == "C"), "class_label"] = "A"
    runs = read_runs(hand_made.write_study(tmp_path, {"a": 0.7}, cohorts), tmp_path)
    _, scores = evaluate(runs, FEW)
    assert cell(scores)["reason"] == "fold 0: no event among the test patients"
    row = cell(scores, metric="balanced_accuracy")
    assert row["reason"] == "fold 0: no test patient of class C" and row["folds_used"] == 2


def test_a_patient_without_a_known_outcome_is_not_tested(hand_made, cohorts, tmp_path):
    table = cohorts["north"]
    table["time"] = table["time"].where(table.index != 4)
    table["class_label"] = table["class_label"].where(table.index != 5, None)
    runs = read_runs(hand_made.write_study(tmp_path, {"a": 0.7}, {"north": table}), tmp_path)
    _, scores = evaluate(runs, FEW)
    assert (scores["n_patients"] == 47).all() and (scores["n_missing"] == 0).all() and scores["reason"].isna().all()


def test_one_seed_of_a_fold_failing_is_said_with_its_seed(hand_made, cohorts, tmp_path):
    def lose(row, frame):
        return frame.assign(risk=1.0) if (row["fold"], row["seed"]) == (2, 1) else frame

    runs = read_runs(hand_made.write_study(tmp_path, {"a": 0.7}, cohorts, seeds=2, change=lose), tmp_path)
    folds, scores = evaluate(runs, FEW)
    row = cell(scores)
    assert row["reason"] == "fold 2 (seed 1): the risk is the same for every test patient"
    grid = folds.query("metric == 'c_index'").pivot(index="fold", columns="seed", values="value")
    assert row["mean"] == pytest.approx(grid.mean(axis=1).mean()) and row["folds_used"] == 3
    assert row["sd_seeds"] == pytest.approx(grid.iloc[:2].mean().std(ddof=1))


def test_methods_of_a_cohort_meet_the_same_resamples(hand_made, cohorts, tmp_path):
    same = hand_made.write_study(tmp_path, {"a": 1.0, "b": 1.0}, cohorts)
    _, scores = evaluate(read_runs(same, tmp_path), FEW)
    a, b = cell(scores, "a"), cell(scores, "b")
    assert (a["lower"], a["upper"]) == (b["lower"], b["upper"])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"bootstraps": 10}, "unknown parameters: bootstraps"),
        ({"bootstrap": 10}, "at least 100"),
        ({"seed": -1}, "seed is -1"),
        ({"unit": "roi"}, "unit is 'roi'"),
    ],
)
def test_wrong_parameters_say_what_to_set(given, message):
    with pytest.raises(PathomixError, match=message):
        Parameters.of(given)


def test_score_columns_are_the_declared_ones(hand_made, cohorts, tmp_path):
    folds, scores = evaluate(read_runs(hand_made.write_study(tmp_path, {"a": 0.7}, cohorts), tmp_path), FEW)
    assert set(folds) == set(FOLD_SCORES.columns) and set(scores) == set(SCORES.columns)
    assert isinstance(folds, pd.DataFrame) and len(scores) == len(METRICS)


def test_differences_are_paired_with_the_reference(hand_made, cohorts, tmp_path):
    runs = read_runs(hand_made.write_study(tmp_path, {"a": 0.5, "b": 0.9}, cohorts, folds=4, seeds=2), tmp_path)
    _, scores = evaluate(runs, Parameters(bootstrap=400, reference="b"))
    SCORES.validate(scores)
    a, b = cell(scores), cell(scores, "b")
    assert a["difference"] == pytest.approx(a["mean"] - b["mean"])
    assert a["difference_lower"] < a["difference"] < a["difference_upper"]
    width = a["difference_upper"] - a["difference_lower"]
    unpaired = np.hypot(a["upper"] - a["lower"], b["upper"] - b["lower"])
    assert width < unpaired, "both rows meet the same resamples, so what they share cancels"
    assert np.isnan(b["difference"]) and a["reference"] == "b"
    _, alone = evaluate(runs, FEW)
    assert alone["difference"].isna().all() and alone["reference"].isna().all()


def test_no_difference_where_the_folds_differ(hand_made, cohorts, tmp_path):
    def lose(row, frame):
        return frame.assign(risk=np.nan) if row["method"] == "a" and row["fold"] == 2 else frame

    indices = hand_made.write_study(tmp_path, {"a": 0.5, "b": 0.9}, cohorts, folds=4, seeds=1, change=lose)
    _, scores = evaluate(read_runs(indices, tmp_path), Parameters(bootstrap=100, reference="b"))
    assert cell(scores)["folds_used"] == 3 and np.isnan(cell(scores)["difference"])
