"""The evaluation step as the workflow calls it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pathomix.core.tables import read_provenance, read_table
from pathomix.evaluate.metrics import METRICS
from pathomix.evaluate.schemas import FOLD_SCORES, SCORES
from pathomix.evaluate.study import evaluate_study


@pytest.fixture
def study(hand_made, tmp_path):
    cohorts = {"north": hand_made.cohort_table("north", 36, 1), "south": hand_made.cohort_table("south", 36, 2)}
    return tmp_path, hand_made.write_study(tmp_path, {"a": 0.9, "b": 0.2}, cohorts)


def test_same_predictions_same_bytes_whatever_the_order_of_the_indices(study):
    results, indices = study
    written = []
    for name, given in (("one", indices), ("two", indices[::-1])):
        folds, scores = results / name / "folds.parquet", results / name / "scores.parquet"
        evaluate_study(given, results, {"bootstrap": 100}, results / name, threads=2)
        written.append((folds.read_bytes(), scores.read_bytes()))
    assert written[0] == written[1]
    scores = read_table(results / "one/scores.parquet", SCORES)
    assert len(scores) == 2 * 2 * len(METRICS)
    assert len(read_table(results / "one/folds.parquet", FOLD_SCORES)) == 3 * len(scores)
    provenance = read_provenance(results / "one/scores.parquet")
    assert provenance.parameters == {
        "bootstrap": 100,
        "seed": 0,
        "unit": "patient",
        "reference": "",
        "patients": "own",
        "study": "demo",
    }
    assert set(provenance.inputs) == {str(path.relative_to(results)) for path in indices}


def test_a_cohort_more_leaves_the_numbers_of_the_others_alone(study):
    results, indices = study
    one = [path for path in indices if "/north/" in str(path)]
    for name, given in (("one", one), ("all", indices)):
        evaluate_study(given, results, {"bootstrap": 100}, results / name)
    alone = read_table(results / "one/scores.parquet", SCORES)
    among = read_table(results / "all/scores.parquet", SCORES).query("cohort == 'north'").reset_index(drop=True)
    assert alone.equals(among)


def test_too_few_resamples_for_many_rows_are_said(hand_made, tmp_path, caplog):
    cohorts = {"north": hand_made.cohort_table("north", 36, 1)}
    indices = hand_made.write_study(tmp_path, {"a": 0.9, "b": 0.2, "c": 0.3, "d": 0.4}, cohorts)
    for resamples, said in ((100, True), (120, False)):
        caplog.clear()
        given = {"bootstrap": resamples, "reference": "a"}
        evaluate_study(indices, tmp_path, given, tmp_path)
        assert ("3 rows are compared with a" in caplog.text) == said
    scores = read_table(tmp_path / "scores.parquet", SCORES)
    compared = scores[scores["method"] != "a"]
    assert compared["holm_p"].min() < 0.05 and (compared["holm_p"] >= compared["bootstrap_p"]).all()


def test_the_script_says_in_one_line_what_is_wrong(study, root):
    results, indices = study
    command = [sys.executable, str(root / "workflow_scripts/evaluate_study.py"), "--results", str(results)]
    command += ["--indices", str(indices[0]), "--parameters", '{"bootstrap": 7}']
    command += ["--output-dir", str(results / "none")]
    command += ["--leaks", str(results / "l.tsv")]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={"PYTHONPATH": str(root / "src"), "PATH": ""}
    )
    assert done.returncode == 1
    assert done.stderr.strip() == "error: evaluation.bootstrap is 7; set it to a whole number of at least 100"
    assert not (results / "none").exists()
