"""What a test part knows of its training part: outcomes of all runs of the fold, risks of its own run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pathomix.core.errors import PathomixError
from pathomix.evaluate.parts import TIME_QUANTILES, blocks
from pathomix.evaluate.predictions import read_runs
from pathomix.survival.censoring import Censoring


@pytest.fixture
def cohorts(hand_made):
    return {"north": hand_made.cohort_table("north", 40, 1)}


def survival_parts(results, indices):
    """(method, fold, seed) to the test part."""
    runs = read_runs(indices, results)
    block = next(block for block in blocks(runs) if block.task == "survival")
    return block, {(row.method, row.fold, row.seed): block.part(row.run, row.fold) for row in block.runs.itertuples()}


def test_censoring_is_the_folds_and_risks_are_the_runs_own(hand_made, cohorts, tmp_path):
    block, parts = survival_parts(
        tmp_path, hand_made.write_study(tmp_path, {"a": 0.5, "b": 0.2}, cohorts, folds=2, seeds=2)
    )
    table = cohorts["north"]
    for m, method in enumerate(("a", "b")):
        for fold in range(2):
            for seed in range(2):
                frame = hand_made.predictions(table, (0.5, 0.2)[m], fold, 2, [m, fold, seed])
                train = frame[(frame["part"] == "train") & (frame["task"] == "survival")]
                part = parts[method, fold, seed]
                assert part.trained.risk == pytest.approx(train["risk"].to_numpy())
                assert part.trained.time == pytest.approx(train["time"].to_numpy())
                expected = Censoring.of(train["time"], train["event"]).curve.survival
                assert part.censoring.curve.survival == pytest.approx(expected)
    events = table.loc[table["event"] == 1, "time"]
    assert block.times == pytest.approx(np.quantile(events, TIME_QUANTILES))
    time, event = block.outcomes()
    assert time == pytest.approx(table["time"].to_numpy()) and event == pytest.approx(table["event"].to_numpy())


def test_only_training_rows_count_and_a_run_without_them_has_the_censoring_of_the_others(hand_made, cohorts, tmp_path):
    def change(row, frame):
        if row["method"] == "a":
            return frame[frame["part"] == "test"]
        # A validation patient is no training patient, one without a risk has an outcome all the same.
        frame.loc[frame["patient_id"].eq("SIMU-NO-0000") & frame["part"].eq("train"), "part"] = "valid"
        return frame.assign(risk=frame["risk"].mask(frame["patient_id"].eq("SIMU-NO-0001")))

    _, parts = survival_parts(
        tmp_path, hand_made.write_study(tmp_path, {"a": 0.5, "b": 0.5}, cohorts, folds=2, change=change)
    )
    bare, full = parts["a", 1, 0], parts["b", 1, 0]
    assert bare.trained is None
    assert np.array_equal(bare.censoring.curve.survival, full.censoring.curve.survival)
    # Fold 1 tests patients 2, 3, 6, 7, ...: 20 are trained on, one of them moved to validation, one has no risk.
    assert full.censoring.curve.at_risk.size == 19
    assert len(full.trained.risk) == 18


def test_without_any_training_rows_there_is_no_censoring(hand_made, cohorts, tmp_path):
    indices = hand_made.write_study(
        tmp_path, {"a": 0.5}, cohorts, folds=2, change=lambda row, frame: frame[frame["part"] == "test"]
    )
    _, parts = survival_parts(tmp_path, indices)
    assert parts["a", 0, 0].censoring is None


def test_a_run_with_a_problem_takes_no_part_in_the_censoring(hand_made, cohorts, tmp_path):
    def fewer(row, frame):
        return frame[~frame["patient_id"].eq("SIMU-NO-0000")] if row["method"] == "a" else frame

    runs = read_runs(hand_made.write_study(tmp_path, {"a": 0.5, "b": 0.5}, cohorts, folds=2, change=fewer), tmp_path)
    taken_out = runs.index.assign(problem=np.where(runs.index["method"] == "b", "patients predicted twice", None))
    for given, patients in ((runs, 20), (replace(runs, index=taken_out), 19)):
        block = next(block for block in blocks(given) if block.task == "survival")
        run = block.runs.query("method == 'a' and fold == 1")["run"].item()
        assert block.part(run, 1).censoring.curve.at_risk.size == patients


def test_runs_that_disagree_about_a_training_patient_are_refused(hand_made, cohorts, tmp_path):
    def later(row, frame):
        moved = frame["patient_id"].eq("SIMU-NO-0004") & frame["part"].eq("train") & (row["method"] == "b")
        return frame.assign(time=frame["time"] + 5.0 * moved)

    indices = hand_made.write_study(tmp_path, {"a": 0.5, "b": 0.5}, cohorts, folds=2, change=later)
    with pytest.raises(PathomixError, match="disagree about the outcome of training patients of north: SIMU-NO-0004"):
        survival_parts(tmp_path, indices)
