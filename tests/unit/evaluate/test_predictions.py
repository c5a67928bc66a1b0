"""Reading runs: what is wrong with a file takes that run out, with a reason, and no other."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pathomix.core.errors import PathomixError
from pathomix.core.files import file_digest
from pathomix.core.provenance import Provenance
from pathomix.core.schemas import RUN_INDEX
from pathomix.core.tables import read_table, write_table
from pathomix.evaluate.predictions import named, read_runs
from pathomix.evaluate.scores import Parameters, evaluate


@pytest.fixture
def study(hand_made, tmp_path):
    cohorts = {"north": hand_made.cohort_table("north", 36, 1)}
    return tmp_path, hand_made.write_study(tmp_path, {"a": 0.9, "b": 0.5}, cohorts)


def rewrite(results, method, fold, change, *, keep_hash=False):
    """Change one predictions file behind the schema's back, and its index with it."""
    path = results / f"runs/demo/{method}/north/kfold-{fold}/seed0/predictions.parquet"
    change(pd.read_parquet(path)).to_parquet(path)
    index = results / f"runs/demo/{method}/north/kfold.parquet"
    rows = read_table(index, RUN_INDEX)
    if not keep_hash:
        rows.loc[rows["fold"] == fold, "sha256"] = file_digest(path)
    write_table(rows, RUN_INDEX, index, Provenance("run_index"))


def problem(runs, method, fold, task="survival"):
    return runs.index.query("method == @method and fold == @fold and task == @task")["problem"].item()


def test_a_sound_study_has_every_run_for_both_tasks_and_no_problem(study):
    results, indices = study
    runs = read_runs(indices, results, threads=2)
    assert runs.study == "demo" and len(runs.index) == 2 * 3 * 2
    assert runs.index["problem"].isna().all()
    assert runs.expected.groupby(["fold", "task"]).size().eq(12).all()


def test_each_bad_file_is_named_and_leaves_the_others_alone(study):
    results, indices = study
    rewrite(results, "a", 0, lambda f: pd.concat([f, f[f["part"] == "test"].head(2)]))
    rewrite(results, "a", 1, lambda f: f.drop(columns="risk"))
    rewrite(results, "a", 2, lambda f: f.assign(time=1.0), keep_hash=True)
    rewrite(results, "b", 0, lambda f: f.assign(risk="high"))
    rewrite(results, "b", 2, lambda f: f[f["task"] == "subtype"])
    runs = read_runs(indices, results)
    assert problem(runs, "a", 0, "subtype") == "patients predicted twice: SIMU-NO-0000, SIMU-NO-0001"
    assert problem(runs, "a", 0) is None
    assert "lacks the columns risk" in problem(runs, "a", 1)
    assert "not the file its run index was written for" in problem(runs, "a", 2)
    assert "values of the wrong type" in problem(runs, "b", 0)
    assert "predicted nothing for this task" in problem(runs, "b", 2)
    assert problem(runs, "b", 1) is None and problem(runs, "b", 2, "subtype") is None


def test_failed_absent_and_truncated_files_are_reasons(study, hand_made):
    results, _ = study
    cohorts = {"north": hand_made.cohort_table("north", 36, 1)}
    indices = hand_made.write_study(results, {"a": 0.9}, cohorts, failed={("a", "north", 1): "no tiles"})
    folder = results / "runs/demo/a/north"
    (folder / "kfold-0/seed0/predictions.parquet").unlink()
    broken = folder / "kfold-2/seed0/predictions.parquet"
    broken.write_bytes(broken.read_bytes()[:100])
    rows = read_table(indices[0], RUN_INDEX).assign(sha256=None)
    write_table(rows, RUN_INDEX, indices[0], Provenance("run_index"))
    runs = read_runs(indices, results)
    assert problem(runs, "a", 1) == "run failed: no tiles"
    assert "cannot be read (FileNotFoundError)" in problem(runs, "a", 0)
    assert "cannot be read" in problem(runs, "a", 2)
    assert runs.predictions.empty and runs.expected.empty


def test_the_reason_of_one_task_stays_with_that_task(study):
    results, indices = study
    rewrite(results, "a", 0, lambda f: f[f["task"] == "survival"])
    rows = read_table(indices[0], RUN_INDEX)
    rows["reason"] = rows["reason"].astype(object)
    rows.loc[0, "reason"] = "subtype: one class; add patients"
    rows.loc[1, ["status", "reason", "path"]] = ["failed", "subtype: a; b; survival: c", None]
    write_table(rows, RUN_INDEX, indices[0], Provenance("run_index"))
    runs = read_runs(indices, results)
    assert problem(runs, "a", 0) is None and problem(runs, "a", 0, "subtype") == "run failed: one class; add patients"
    assert problem(runs, "a", 1) == "run failed: c" and problem(runs, "a", 1, "subtype") == "run failed: a; b"


def first_test(frame, of_task, **values):
    """The frame with values of its first test row of a task changed."""
    place = frame.index[(frame["part"] == "test") & (frame["task"] == of_task)][0]
    frame = frame.astype({name: object for name in values if frame[name].dtype.kind not in "fO"})
    for name, value in values.items():
        frame.loc[place, name] = value
    return frame


@pytest.mark.parametrize(
    ("task", "values", "reason"),
    [
        ("survival", {"event": 2}, "event is not 0 or 1 for SIMU-NO-0000"),
        ("survival", {"time": -1.0}, "time is negative or infinite for SIMU-NO-0000"),
        ("survival", {"time": np.inf}, "time is negative or infinite for SIMU-NO-0000"),
        ("survival", {"part": "Test"}, "part is not one of train, valid, test for SIMU-NO-0000"),
        ("survival", {"part": None}, "part is not one of train, valid, test for SIMU-NO-0000"),
        ("subtype", {"task": "grade"}, "task is not one of survival, subtype for SIMU-NO-0000"),
        ("subtype", {"patient_id": None}, "1 rows without a patient"),
        ("subtype", {"probability_A": 1.5}, "probability_A is not between 0 and 1 for SIMU-NO-0000"),
    ],
)
def test_a_value_that_no_prediction_can_have_takes_its_own_run_out_and_names_the_patient(study, task, values, reason):
    results, indices = study
    rewrite(results, "a", 0, lambda f: first_test(f, task, **values))
    runs = read_runs(indices, results)
    assert problem(runs, "a", 0).endswith(f"predictions.parquet: {reason}")
    assert runs.index["problem"].notna().sum() == 2, "one run, both tasks"


def test_a_run_taken_out_is_a_fold_missing_with_its_reason_and_no_other(study):
    results, indices = study
    rewrite(results, "a", 0, lambda f: first_test(f, "survival", event=2))
    rewrite(results, "a", 1, lambda f: pd.concat([f, f[(f["part"] == "test") & (f["task"] == "survival")].head(1)]))
    folds, scores = evaluate(read_runs(indices, results), Parameters(bootstrap=100))
    row = scores.query("method == 'a' and metric == 'c_index'").iloc[0]
    first, second = row["reason"].split("; ")
    assert first.startswith("fold 0: runs/demo/a/north/kfold-0/") and first.endswith("0 or 1 for SIMU-NO-0000")
    assert second == "fold 1: patients predicted twice: SIMU-NO-0002"
    alone = folds.query("method == 'a' and metric == 'c_index' and fold == 2")["value"].item()
    assert row["folds_used"] == 1 and row["mean"] == alone, "what is missing is left out, not counted as 0"
    kept = scores.query("method == 'b' and metric == 'c_index'").iloc[0]
    assert kept["folds_used"] == 3 and kept["reason"] is None


def test_missing_values_are_not_wrong_ones(study):
    results, indices = study
    unknown = {"time": np.nan, "event": np.nan, "class_label": None, "risk": np.nan}
    rewrite(results, "a", 0, lambda f: first_test(f, "survival", **unknown))
    rewrite(results, "a", 1, lambda f: first_test(f, "subtype", probability_A=np.inf))
    assert read_runs(indices, results).index["problem"].isna().all()


def test_infinite_and_missing_risks_are_missing_predictions(study):
    results, indices = study
    rewrite(results, "a", 0, lambda f: f.assign(risk=np.where(f["part"] == "test", np.inf, f["risk"])))
    runs = read_runs(indices, results)
    mine = runs.predictions[(runs.predictions["run"] == 0) & (runs.predictions["part"] == "test")]
    assert mine["risk"].isna().all()


def test_leakage_contradiction_repetition_and_mixed_studies_are_errors(study, hand_made):
    results, indices = study
    with pytest.raises(PathomixError, match="list the same run"):
        read_runs([*indices, indices[0]], results)
    with pytest.raises(PathomixError, match="no run index"):
        read_runs([], results)
    other = hand_made.write_study(results, {"c": 0.1}, {"north": hand_made.cohort_table("north", 36, 1)}, study="two")
    with pytest.raises(PathomixError, match="one study: demo, two"):
        read_runs([*indices, *other], results)
    clash = hand_made.write_study(results, {"c": 0.1}, {"north": hand_made.cohort_table("north", 36, 99)})
    with pytest.raises(PathomixError, match="disagree about the outcome of patients of north: SIMU-NO-0000"):
        read_runs([*indices, *clash], results)

    def leak(row, frame):
        copied = frame[(frame["part"] == "train") & (frame["task"] == "survival")].head(1).assign(part="test")
        return pd.concat([frame, copied])

    leaking = hand_made.write_study(results, {"c": 0.1}, {"n": hand_made.cohort_table("north", 36, 1)}, change=leak)
    with pytest.raises(PathomixError, match="c on n, fold 0: patients are in the test part and in another part"):
        read_runs(leaking, results)


def test_named_sorts_counts_and_stops():
    assert named(["b", "a", "a"]) == "a, b"
    assert named(range(8)) == "0, 1, 2, 3, 4 and 3 more"
