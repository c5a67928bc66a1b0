"""Risk groups: cut by the training part, one row per patient, log-rank against its formula."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2

from pathomix.evaluate.predictions import read_runs
from pathomix.evaluate.risk_groups import risk_groups


def logrank(time, event, high) -> float:
    """Observed minus expected events of one group over the event times (Mantel 1966)."""
    difference = variance = 0.0
    for moment in np.unique(time[event == 1]):
        at_risk = time >= moment
        dies = (time == moment) & (event == 1)
        n, n1, d = at_risk.sum(), (at_risk & high).sum(), dies.sum()
        difference += (dies & high).sum() - d * n1 / n
        variance += d * n1 / n * (1 - n1 / n) * (n - d) / (n - 1) if n > 1 else 0
    return float(chi2.sf(difference**2 / variance, 1))


def test_groups_are_cut_at_the_training_median_and_tested_by_logrank(hand_made, tmp_path):
    table = hand_made.cohort_table("north", 60, 1)
    runs = read_runs(hand_made.write_study(tmp_path, {"a": 0.8}, {"north": table}), tmp_path)
    groups = risk_groups(runs, "a", "north", "kfold")
    assert groups.problem is None and groups.left_out == ()
    high = {}
    for fold in range(3):
        frame = hand_made.predictions(table, 0.8, fold, 3, [0, fold, 0]).query("task == 'survival'")
        cut = frame.loc[frame["part"] == "train", "risk"].median()
        test = frame[frame["part"] == "test"]
        high |= dict(zip(test["patient_id"], test["risk"] > cut, strict=True))
    got = groups.patients.set_index("patient_id")["high"].to_dict()
    assert got == high
    rows = groups.patients
    expected = logrank(rows["time"].to_numpy(), rows["event"].to_numpy(), rows["high"].to_numpy())
    assert groups.p_value == pytest.approx(expected, rel=1e-6)


def test_a_patient_tested_by_several_seeds_appears_once(hand_made, tmp_path):
    table = hand_made.cohort_table("north", 60, 1)
    runs = read_runs(hand_made.write_study(tmp_path, {"a": 0.3}, {"north": table}, seeds=3), tmp_path)
    rows = risk_groups(runs, "a", "north", "kfold").patients
    assert len(rows) == 60 and rows["patient_id"].is_unique


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda row, f: f[f["part"] == "test"], "no predictions of the training part"),
        (lambda row, f: f.assign(risk=f["risk"].where(f["part"] == "test", 0.5)), "same for every training patient"),
    ],
)
def test_folds_that_cannot_be_cut_are_left_out_by_name(hand_made, tmp_path, change, said):
    table = hand_made.cohort_table("north", 60, 1)

    def one_fold(row, frame):
        return change(row, frame) if row["fold"] == 1 else frame

    runs = read_runs(hand_made.write_study(tmp_path, {"a": 0.8}, {"north": table}, change=one_fold), tmp_path)
    groups = risk_groups(runs, "a", "north", "kfold")
    assert groups.left_out[0].startswith("fold 1 (seed 0)") and said in groups.left_out[0]
    assert "20 of 60 patients" in groups.left_out[1] and len(groups.patients) == 40
    everywhere = read_runs(hand_made.write_study(tmp_path, {"a": 0.8}, {"north": table}, change=change), tmp_path)
    groups = risk_groups(everywhere, "a", "north", "kfold")
    assert groups.p_value is None and groups.problem == "no patient has a usable prediction"


def test_no_event_is_no_test(hand_made, tmp_path):
    table = hand_made.cohort_table("north", 60, 1).assign(event=0)
    runs = read_runs(hand_made.write_study(tmp_path, {"a": 0.8}, {"north": table}), tmp_path)
    groups = risk_groups(runs, "a", "north", "kfold")
    assert groups.p_value is None and groups.problem == "no event"
