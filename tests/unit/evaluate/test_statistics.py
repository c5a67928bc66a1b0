"""Resamples of every prepared statistic against replicated patients, and what they do where a resample breaks."""

from __future__ import annotations

import numpy as np
import pytest

from pathomix.evaluate.statistics import AucStatistic, F1Statistic, MeanStatistic, PairStatistic, RecallStatistic
from pathomix.survival.censoring import Censoring
from pathomix.survival.dynamic_auc import DynamicAuc
from pathomix.survival.pairs import harrell_pairs

TRAINED = Censoring.of([1, 2, 2, 3, 4, 5, 6, 7, 9], [1, 0, 1, 0, 1, 1, 0, 1, 1])
TIMES = np.array([2.0, 4.0, 6.0])


def survival(rows: np.ndarray) -> dict[str, object]:
    generator = np.random.default_rng(0)
    time, event = generator.integers(1, 8, 30), generator.integers(0, 2, 30)
    risk, error = generator.integers(-3, 4, 30) - time / 3, generator.random(30)
    return {
        "pairs": PairStatistic.of(harrell_pairs(time[rows], event[rows], risk[rows])),
        "auc": AucStatistic.of(DynamicAuc.of(time[rows], event[rows], risk[rows], TRAINED, TIMES)),
        "mean": MeanStatistic(error[rows]),
    }


@pytest.mark.parametrize("name", ["pairs", "auc", "mean"])
def test_resamples_equal_replicated_patients(name):
    everybody = np.arange(30)
    counts = np.random.default_rng(1).multinomial(30, np.full(30, 1 / 30), size=12)
    statistic = survival(everybody)[name]
    drawn = statistic.resample(np.concatenate([np.ones((1, 30)), counts]).astype(np.float32))
    assert drawn[0] == pytest.approx(statistic.value, abs=1e-12)
    for value, row in zip(drawn[1:], counts, strict=True):
        assert value == pytest.approx(survival(np.repeat(everybody, row))[name].value, abs=1e-12)


def test_a_resample_that_lost_a_class_its_events_or_everybody_is_missing():
    one = np.eye(2, dtype=np.float32)
    kept, lost = np.array([[1, 1]], dtype=np.float32), np.array([[2, 0]], dtype=np.float32)
    second = np.array([[0, 1], [0, 1]], dtype=np.float32)
    for statistic, value in (
        (RecallStatistic(1.0, one, one), 1.0),
        (F1Statistic(1.0, one, one, one), 1.0),
        # Everybody is predicted to be of the class that the resample loses: not an F1 of 0.
        (F1Statistic(1 / 3, one * second, one, second), 1 / 3),
    ):
        assert statistic.resample(kept)[0] == pytest.approx(value)
        assert np.isnan(statistic.resample(lost)[0])
    pairs = PairStatistic.of(harrell_pairs([1, 2], [1, 0], [2, 1]))
    assert pairs.value == 1.0 and np.isnan(pairs.resample(lost)[0])
    assert np.isnan(MeanStatistic(np.ones(2)).resample(0 * kept)[0])
