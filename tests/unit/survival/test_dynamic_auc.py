"""Time-dependent AUC against loops over pairs, under resampling, and its properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pathomix.survival.censoring import Censoring
from pathomix.survival.dynamic_auc import DynamicAuc
from pathomix.survival.kaplan_meier import kaplan_meier

TIMES = np.array([2.0, 4.5, 6.0])
TRAINED = Censoring.of([1, 2, 2, 3, 4, 5, 6, 7, 9], [1, 0, 1, 0, 1, 1, 0, 1, 1])
samples = st.lists(
    st.tuples(st.integers(1, 8), st.booleans(), st.integers(-3, 3), st.integers(0, 3)), min_size=3, max_size=20
).map(lambda rows: tuple(np.array(column, dtype=float) for column in zip(*rows, strict=True)))


def by_loop(time: np.ndarray, event: np.ndarray, risk: np.ndarray, moment: float) -> float:
    weight = TRAINED.weights(time, event, TIMES[-1])
    top = bottom = 0.0
    for i in np.flatnonzero(event.astype(bool) & (time <= moment)):
        for j in np.flatnonzero(time > moment):
            bottom += weight[i]
            top += weight[i] * (1.0 if risk[i] > risk[j] else 0.5 if risk[i] == risk[j] else 0.0)
    return top / bottom if bottom else float("nan")


@settings(max_examples=80, deadline=None)
@example(tuple(np.array(c, dtype=float) for c in ([1, 3, 5, 2], [1, 1, 0, 1], [0, 0, -1, 0], [0, 0, 0, 0])))
@given(samples)
def test_every_resample_equals_the_loop_on_replicated_patients(sample: tuple[np.ndarray, ...]) -> None:
    time, event, risk, counts = sample
    curve = DynamicAuc.of(time, event, risk, TRAINED, TIMES)
    weights = np.stack([np.ones(len(time)), counts]).astype(np.float32)
    for row, mean, drawn in zip(
        curve.at_times(weights), curve.mean(weights), (np.ones(len(time), int), counts.astype(int)), strict=True
    ):
        t, e, r = (np.repeat(column, drawn) for column in (time, event, risk))
        expected = np.array([by_loop(t, e, r, moment) for moment in TIMES])
        assert row == pytest.approx(expected, abs=1e-12, nan_ok=True)
        if not len(t):
            assert np.isnan(mean)
            continue
        drops = -np.diff(kaplan_meier(t, e).at(TIMES), prepend=1.0)
        used = drops > 0
        whole = (expected[used] * drops[used]).sum() / drops[used].sum() if used.any() else float("nan")
        assert mean == pytest.approx(whole, abs=1e-12, nan_ok=True)


@settings(max_examples=60, deadline=None)
@example(tuple(np.array(c, dtype=float) for c in ([1, 3, 5, 2], [1, 1, 0, 1], [0, 0, -1, 0], [0, 0, 0, 0])))
@given(samples)
def test_bounds_sign_and_invariance_under_monotone_transforms(sample: tuple[np.ndarray, ...]) -> None:
    time, event, risk, _ = sample
    once = np.ones((1, len(time)), dtype=np.float32)
    values, turned, stretched = (
        DynamicAuc.of(time, event, score, TRAINED, TIMES).at_times(once)[0] for score in (risk, -risk, risk**3 + 1)
    )
    known = np.isfinite(values)
    assert ((values[known] >= 0) & (values[known] <= 1)).all()
    assert turned == pytest.approx(1 - values, abs=1e-12, nan_ok=True)
    assert np.array_equal(stretched, values, equal_nan=True)


def test_a_time_before_the_first_event_does_not_count_and_one_after_everybody_spoils_the_mean() -> None:
    once = np.ones((1, 4), dtype=np.float32)
    curve = DynamicAuc.of([3, 4, 5, 7], [1, 1, 0, 0], [4, 1, 2, 3], TRAINED, TIMES)
    assert np.isnan(curve.at_times(once)[0, 0])
    assert 0 < curve.mean(once)[0] < 1
    ends = DynamicAuc.of([1, 2, 5, 6], [1, 1, 1, 1], [4, 3, 2, 1], TRAINED, TIMES)
    assert np.isnan(ends.mean(once)[0])
