"""Risk groups: cut by the training part, one row per patient, log-rank against its formula."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2

from pathomix.core.errors import PathomixError
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


def repeated(row, frame):
    """Redraw the parts of a fold: a third is tested, patients come back; models differ in scale and level."""
    ids = sorted(frame["patient_id"].unique())
    tested = np.random.default_rng([3, row["fold"]]).permutation(ids)[: len(ids) // 3]
    part = np.where(frame["patient_id"].isin(tested), "test", "train")
    return frame.assign(part=part, risk=frame["risk"] * 10 ** row["fold"] + 100 * row["fold"])


def test_repeated_folds_are_z_scored_averaged_and_cut_at_the_median_patient(hand_made, tmp_path):
    table = hand_made.cohort_table("north", 60, 1)
    indices = hand_made.write_study(tmp_path, {"a": 0.6}, {"north": table}, folds=5, seeds=2, change=repeated)
    runs = read_runs(indices, tmp_path)
    groups = risk_groups(runs, "a", "north", "kfold")
    z, raw = {}, {}
    for fold in range(5):
        for seed in range(2):
            frame = repeated({"fold": fold}, hand_made.predictions(table, 0.6, fold, 5, [0, fold, seed]))
            test = frame.query("task == 'survival' and part == 'test'").set_index("patient_id")["risk"]
            for patient, value in test.items():
                z.setdefault(patient, []).append((value - test.mean()) / np.std(test.to_numpy()))
                raw.setdefault((fold, patient), []).append(value)
    mean = {patient: np.mean(values) for patient, values in z.items()}
    assert groups.rule == "patient" and groups.problem is None
    got = groups.patients.set_index("patient_id")
    assert got["score"].to_dict() == pytest.approx(mean) and got.index.is_unique
    cut = np.median(list(mean.values()))
    assert got["high"].to_dict() == {patient: score > cut for patient, score in mean.items()}
    arrays = (got[name].to_numpy() for name in ("time", "event", "high"))
    assert groups.p_value == pytest.approx(logrank(*arrays), rel=1e-6)
    pooled = groups.pooled
    assert pooled is not None and pooled.rule == "pooled" and pooled.pooled is None
    assert len(pooled.patients) == 100 == len(raw), "five tests of twenty patients, seeds averaged"
    expected = sorted(np.mean(values) for values in raw.values())
    assert sorted(pooled.patients["score"]) == pytest.approx(expected)
    assert (pooled.patients["high"] == (pooled.patients["score"] > np.median(expected))).all()
    arrays = (pooled.patients[name].to_numpy() for name in ("time", "event", "high"))
    assert pooled.p_value == pytest.approx(logrank(*arrays), rel=1e-6)


def test_repeated_test_rows_make_noise_look_significant_and_single_patients_do_not(hand_made, tmp_path):
    small = {"patient": 0, "pooled": 0}
    for seed in range(25):
        table = hand_made.cohort_table("north", 60, 100 + seed)
        table["truth"] = np.random.default_rng(seed).permutation(table["truth"])

        def steady(row, frame, table=table):
            # One fixed noise per patient: what overlapping training parts make of models without signal.
            return repeated({"fold": row["fold"]}, frame).assign(risk=np.tile(table["truth"], 2))

        folder = tmp_path / str(seed)
        indices = hand_made.write_study(folder, {"a": 0.0}, {"north": table}, folds=10, change=steady)
        groups = risk_groups(read_runs(indices, folder), "a", "north", "kfold")
        small["patient"] += groups.p_value < 0.05
        small["pooled"] += groups.pooled.p_value < 0.05
    assert small["patient"] <= 4 < 7 <= small["pooled"]


def test_folds_that_share_no_patient_have_no_pooled_form_and_an_unknown_rule_is_refused(hand_made, tmp_path):
    table = hand_made.cohort_table("north", 60, 1)
    runs = read_runs(hand_made.write_study(tmp_path, {"a": 0.8}, {"north": table}), tmp_path)
    groups = risk_groups(runs, "a", "north", "kfold")
    assert groups.rule == "training" and groups.pooled is None
    assert risk_groups(runs, "a", "north", "kfold", "patient").patients["high"].sum() == 30
    with pytest.raises(PathomixError, match="rule of the risk groups is 'tercile'"):
        risk_groups(runs, "a", "north", "kfold", "tercile")


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
