"""D-calibration: shares by hand and by loop, its level under the truth and its power against a wrong model."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import chisquare

from pathomix.core.errors import PathomixError
from pathomix.survival.d_calibration import bin_shares, d_calibration


def test_shares_of_patients_done_by_hand() -> None:
    shares = bin_shares([0.55, 1.0, 0.0, 0.5, 0.25, 0.0], [1, 1, 1, 0, 0, 0], bins=4)
    expected = [[0, 0, 1, 0], [0, 0, 0, 1], [1, 0, 0, 0], [0.5, 0.5, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]]
    assert shares == pytest.approx(np.array(expected, dtype=float))


def test_a_censored_patient_is_spread_evenly_below_his_probability() -> None:
    generator = np.random.default_rng(0)
    survival = generator.random(200)
    shares = bin_shares(survival, np.zeros(200))
    edges = np.linspace(0, 1, 11)
    for row, s in zip(shares, survival, strict=True):
        expected = [max(0.0, min(s, high) - low) / s for low, high in pairwise(edges)]
        assert row == pytest.approx(expected, abs=1e-12)
    assert shares.sum(axis=1) == pytest.approx(np.ones(200))


def test_without_censoring_it_is_pearsons_test() -> None:
    survival = np.random.default_rng(1).random(137)
    found = d_calibration(survival, np.ones(137))
    counts = np.histogram(survival, bins=np.linspace(0, 1, 11))[0]
    expected = chisquare(counts)
    assert (found.statistic, found.p) == pytest.approx((expected.statistic, expected.pvalue))
    assert found.degrees == 9


def simulated(seed: int, censored: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    rate = np.exp(generator.normal(size=400)) / 20
    time = generator.exponential(1 / rate)
    limit = generator.exponential(30, size=400) if censored else np.full(400, np.inf)
    return np.exp(-rate * np.minimum(time, limit)), time <= limit, np.exp(-2 * rate * np.minimum(time, limit))


@pytest.mark.parametrize("censored", [False, True])
def test_true_probabilities_pass_and_hazards_twice_too_high_fail(censored: bool) -> None:
    truth, wrong = [], []
    for seed in range(100):
        survival, event, doubled = simulated(seed, censored)
        truth.append(d_calibration(survival, event).p)
        wrong.append(d_calibration(doubled, event).p)
    # Spreading the censored makes the counts less variable than the chi-square has them: the test is then conservative.
    assert np.mean(np.array(truth) < 0.05) <= 0.12
    assert np.mean(np.array(wrong) < 0.05) == 1.0


def test_what_is_not_a_probability_is_refused() -> None:
    with pytest.raises(PathomixError, match="not a probability at rows: 1, 2"):
        bin_shares([0.5, np.nan, 1.2], [1, 1, 1])
    with pytest.raises(PathomixError, match="no patient"):
        d_calibration([], [])
