"""Calibration against a direct computation, on planted risks, and with runs that cannot take part."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from lifelines import KaplanMeierFitter

from pathomix.core.tables import read_provenance, read_table
from pathomix.evaluate.calibration import CALIBRATION, D_CALIBRATION, GROUPS, calibration, write_calibration
from pathomix.evaluate.predictions import read_runs
from pathomix.survival.breslow import RiskCurves
from pathomix.survival.d_calibration import d_calibration


def calibrated(hand_made, folder, methods, patients=120, **options):
    cohorts = {"north": hand_made.cohort_table("north", patients, 1)}
    # The longest follow-up ends with an event, beyond what the models of his fold have seen.
    cohorts["north"].loc[cohorts["north"]["time"].idxmax(), "event"] = 1
    runs = read_runs(hand_made.write_study(folder, methods, cohorts, **options), folder)
    return cohorts["north"], runs, *calibration(runs)


def test_equals_a_direct_computation_with_seeds_averaged(hand_made, tmp_path):
    table, _, curve, test = calibrated(hand_made, tmp_path, {"a": 0.6}, folds=3, seeds=2)
    horizon = float(np.median(table.loc[table["event"] == 1, "time"]))
    at_horizon, at_time = np.zeros((2, 3, len(table))), np.zeros((2, 3, len(table)))
    frames = {}
    for fold in range(3):
        for seed in range(2):
            frame = hand_made.predictions(table, 0.6, fold, 3, [0, fold, seed])
            frames[fold, seed] = frame[frame["task"] == "survival"].reset_index(drop=True)
    end = min(frame.loc[frame["part"] == "train", "time"].max() for frame in frames.values())
    time, event = np.minimum(table["time"], end), np.where(table["time"] <= end, table["event"], 0)
    for (fold, seed), frame in frames.items():
        train, held = frame["part"] == "train", (frame["part"] == "test").to_numpy()
        curves = RiskCurves.fit(*(frame.loc[train, name] for name in ("time", "event", "risk")))
        risk = frame.loc[held, "risk"].to_numpy()
        at_horizon[seed, fold, held] = curves.survival(risk, [horizon])[:, 0]
        at_time[seed, fold, held] = curves.survival_at(risk, time[held])
    # Each patient is tested in one fold, with two seeds.
    mean = at_horizon.sum(axis=1).mean(axis=0)
    group = pd.qcut(mean, GROUPS, labels=False)
    assert list(curve["group"]) == list(range(GROUPS)) and curve["n_patients"].sum() == len(table)
    for row in curve.itertuples():
        mine = group == row.group
        fitter = KaplanMeierFitter().fit(time[mine], event[mine])
        assert row.horizon == pytest.approx(horizon)
        assert row.n_patients == mine.sum() and row.n_events == event[mine & (time <= horizon)].sum()
        assert row.predicted == pytest.approx(mean[mine].mean(), abs=1e-9)
        assert row.observed == pytest.approx(fitter.predict(horizon), abs=1e-9)
        bounds = fitter.confidence_interval_.loc[:horizon].iloc[-1].to_numpy()
        assert (row.observed_lower, row.observed_upper) == pytest.approx(tuple(bounds), abs=1e-9)
        assert row.reason is None
    expected = d_calibration(at_time.sum(axis=1).mean(axis=0), event)
    found = test.iloc[0]
    assert (found["statistic"], found["p"]) == pytest.approx((expected.statistic, expected.p))
    assert (found["degrees"], found["n_patients"], found["reason"]) == (9, len(table), None)


def test_the_truth_is_calibrated_and_a_risk_stretched_in_the_test_part_is_not(hand_made, tmp_path):
    def stretched(row, frame):
        told = frame["part"].eq("test") & (row["method"] == "overconfident")
        return frame.assign(risk=frame["risk"].where(~told, 4 * frame["risk"]))

    _, _, curve, test = calibrated(
        hand_made, tmp_path, {"truth": 1.0, "overconfident": 1.0}, patients=600, folds=3, change=stretched
    )
    p = test.set_index("method")["p"]
    assert p["truth"] > 0.01 and p["overconfident"] < 1e-6
    true = curve[curve["method"] == "truth"]
    assert ((true["observed_lower"] <= true["predicted"]) & (true["predicted"] <= true["observed_upper"])).sum() >= 4
    wrong = curve[curve["method"] == "overconfident"]
    assert wrong["predicted"].iloc[0] < wrong["observed_lower"].iloc[0]
    assert wrong["predicted"].iloc[-1] > wrong["observed_upper"].iloc[-1]


def test_runs_and_methods_that_cannot_take_part_are_named(hand_made, tmp_path):
    def change(row, frame):
        if row["method"] == "bare" or (row["method"] == "half" and row["fold"] == 0):
            return frame[frame["part"] == "test"]
        if row["method"] == "flat":
            return frame.assign(risk=frame["risk"].where(frame["part"] != "train", 1.0))
        return frame

    table, _, curve, test = calibrated(
        hand_made,
        tmp_path,
        {"bare": 0.5, "flat": 0.5, "half": 0.5, "gone": 0.5},
        folds=2,
        change=change,
        failed={("gone", "north", 0): "out of memory", ("gone", "north", 1): "out of memory"},
    )
    CALIBRATION.validate(curve)
    D_CALIBRATION.validate(test)
    reasons = test.set_index("method")["reason"]
    assert "fold 0 (seed 0): no survival probabilities without predictions of the training part" in reasons["bare"]
    assert "fold 1 (seed 0): no survival probabilities from the training part: the risk is the same" in reasons["flat"]
    assert "fold 1 (seed 0): run failed: out of memory" in reasons["gone"]
    tested = sum(hand_made.predictions(table, 0.5, 0, 2, [0, 0, 0])["part"] == "test") // 2
    assert f"{tested} of {len(table)} patients have no survival probability" in reasons["half"]
    numbers = test.set_index("method")[["statistic", "p"]]
    assert numbers.loc["half"].notna().all() and numbers.drop("half").isna().all(axis=None)
    for method in ("bare", "flat", "gone"):
        row = curve[curve["method"] == method]
        assert len(row) == 1 and row["n_patients"].item() == 0 and np.isnan(row["observed"].item())
        assert row["reason"].item() == reasons[method]
    assert curve.query("method == 'half'")["n_patients"].sum() == len(table) - tested


def test_a_cohort_without_events_and_a_group_that_is_not_followed_are_said(hand_made, tmp_path):
    _, _, curve, test = calibrated(
        hand_made, tmp_path / "none", {"a": 0.5}, folds=2, change=lambda row, frame: frame.assign(event=0.0)
    )
    assert "no event among the test patients" in curve["reason"].item() and np.isnan(curve["horizon"].item())
    assert test["n_patients"].item() == 0

    def short(row, frame):
        # The patients of low risk leave before anybody dies.
        low = frame["patient_id"].str[-4:].astype(int) < 40
        changed = frame.assign(time=frame["time"].where(~low, 0.05), event=frame["event"].where(~low, 0))
        return changed.assign(risk=changed["risk"].where(~low, changed["risk"] - 50))

    _, _, curve, test = calibrated(hand_made, tmp_path / "short", {"a": 0.5}, patients=200, folds=2, change=short)
    lost = curve[curve["observed"].isna()]
    assert list(lost["group"]) == [curve["group"].max()]
    assert lost["reason"].str.startswith("nobody of the group is followed to").all()


def test_equal_predictions_are_in_one_group(hand_made, tmp_path):
    _, _, curve, _ = calibrated(
        hand_made, tmp_path, {"a": 0.5}, folds=2, change=lambda row, frame: frame.assign(risk=np.sign(frame["risk"]))
    )
    # Two values of the risk, two folds: at most four probabilities.
    assert 2 <= len(curve) <= 4 and list(curve["group"]) == list(range(len(curve)))


def test_the_tables_are_written_with_their_lineage(hand_made, tmp_path):
    _, runs, curve, test = calibrated(hand_made, tmp_path, {"a": 0.5}, folds=2)
    paths = tmp_path / "calibration.parquet", tmp_path / "d_calibration.parquet"
    write_calibration(runs, *paths, {"runs/a": "0" * 64}, {"seed": 0})
    assert len(read_table(paths[0], CALIBRATION)) == len(curve)
    assert read_table(paths[1], D_CALIBRATION)["p"].item() == test["p"].item()
    assert read_provenance(paths[0]).inputs == {"runs/a": "0" * 64}
    before = paths[0].read_bytes()
    write_calibration(runs, *paths, {"runs/a": "0" * 64}, {"seed": 0})
    assert paths[0].read_bytes() == before
