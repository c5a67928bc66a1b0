"""Patient bootstrap: draws, means over folds, intervals, and whether they cover."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pathomix.evaluate.bootstrap import fold_mean, patient_counts, percentile_interval
from pathomix.evaluate.parts import blocks
from pathomix.evaluate.predictions import Runs
from pathomix.evaluate.scores import Parameters, evaluate
from pathomix.survival.concordance import harrell_c


def test_counts_are_resamples_of_all_patients_and_depend_on_the_place_and_the_seed():
    counts = patient_counts(50, 200, 0, "north", "kfold", "survival")
    assert counts.shape == (200, 50) and (counts.sum(axis=1) == 50).all()
    assert counts.mean() == 1 and counts.var() == pytest.approx(0.98, abs=0.05)
    assert np.array_equal(counts, patient_counts(50, 200, 0, "north", "kfold", "survival"))
    for other in ((1, "north"), (0, "south")):
        assert not np.array_equal(counts, patient_counts(50, 200, other[0], other[1], "kfold", "survival"))


def test_fold_mean_averages_seeds_first_and_leaves_out_what_a_resample_cannot_carry():
    nan = np.nan
    folds = [[np.array([0.2, nan, nan]), np.array([0.4, 0.5, nan])], [np.array([0.9, 0.7, nan])]]
    assert fold_mean(folds)[:2] == pytest.approx([0.6, 0.6])
    assert np.isnan(fold_mean(folds)[2])


def test_an_interval_of_mostly_undefined_resamples_is_missing():
    assert np.isnan(percentile_interval(np.array([0.5, np.nan, np.nan]))).all()
    lower, upper = percentile_interval(np.arange(1001.0))
    assert (lower, upper) == pytest.approx((25.0, 975.0))


def fake_runs(time, event, risk, folds, tests) -> Runs:
    """One method whose fold `f` tests the patients `tests[f]` (they may overlap)."""
    ids = np.array([f"P{i:03d}" for i in range(len(time))])
    frames, expected = [], []
    for fold in range(folds):
        rows = tests[fold]
        base = {"patient_id": ids[rows], "task": "survival", "time": time[rows], "event": event[rows]}
        frames.append(pd.DataFrame({**base, "part": "test", "class_label": None, "risk": risk[rows], "run": fold}))
        place = {"cohort": "c", "scheme": "s", "fold": fold, "class_label": None}
        expected.append(pd.DataFrame({**base, **place}))
    index = pd.DataFrame(
        {"run": range(folds), "method": "m", "cohort": "c", "scheme": "s", "fold": range(folds), "seed": 0}
    ).assign(task="survival", problem=None)
    return Runs("study", index, pd.concat(frames, ignore_index=True), pd.concat(expected, ignore_index=True))


def test_joint_bootstrap_over_overlapping_folds_equals_the_brute_force_loop():
    generator = np.random.default_rng(5)
    n = 30
    time, event, risk = (
        generator.integers(1, 15, n).astype(float),
        generator.integers(0, 2, n),
        generator.normal(size=n),
    )
    tests = [np.sort(generator.choice(n, 15, replace=False)) for _ in range(4)]
    runs = fake_runs(time, event.astype(float), risk, 4, tests)
    _, scores = evaluate(runs, Parameters(bootstrap=120, seed=3))
    (block,) = blocks(runs)
    counts = patient_counts(len(block.patients), 120, 3, "c", "s", "survival").astype(int)
    column = {int(name[1:]): place for place, name in enumerate(block.patients)}
    means = []
    for row in counts:
        values = []
        for rows in tests:
            drawn = np.repeat(rows, [row[column[i]] for i in rows])
            values.append(harrell_c(time[drawn], event[drawn], risk[drawn]))
        means.append(np.nanmean(values))
    lower, upper = np.quantile(means, [0.025, 0.975])
    assert scores.loc[0, "lower"] == pytest.approx(lower, abs=1e-12)
    assert scores.loc[0, "upper"] == pytest.approx(upper, abs=1e-12)
    expected = np.mean([harrell_c(time[rows], event[rows], risk[rows]) for rows in tests])
    assert scores.loc[0, "mean"] == pytest.approx(expected, abs=1e-12)


def test_the_interval_covers_the_true_c_index():
    """For log-hazard b x with x normal and no censoring, P(T1 < T2 | x) is logistic in b (x1 - x2)."""
    generator = np.random.default_rng(11)
    slope, n = 1.0, 120
    difference = slope * np.abs(generator.normal(size=(200_000, 2)) @ [1, -1])
    truth = float(np.mean(1 / (1 + np.exp(-difference))))
    covered = 0
    for _ in range(80):
        x = generator.normal(size=n)
        time = generator.exponential(1 / np.exp(slope * x))
        tests = np.array_split(generator.permutation(n), 3)
        _, scores = evaluate(fake_runs(time, np.ones(n), x, 3, tests), Parameters(bootstrap=200))
        covered += scores.loc[0, "lower"] <= truth <= scores.loc[0, "upper"]
    assert 0.88 <= covered / 80 <= 0.995
