"""Every survival metric against lifelines and scikit-survival on random tied and censored samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from lifelines.utils import concordance_index
from sksurv.metrics import (
    brier_score,
    concordance_index_censored,
    concordance_index_ipcw,
    cumulative_dynamic_auc,
    integrated_brier_score,
)
from sksurv.util import Surv

from pathomix.survival.brier import brier_terms, integrated
from pathomix.survival.censoring import Censoring
from pathomix.survival.concordance import harrell_c
from pathomix.survival.dynamic_auc import DynamicAuc
from pathomix.survival.pairs import harrell_pairs, uno_c


@dataclass(frozen=True)
class Sample:
    """Training and test outcomes in months, whole or not, with tied risks."""

    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]
    risk: np.ndarray
    times: np.ndarray
    survival: np.ndarray

    @classmethod
    def drawn(cls, seed: int) -> Sample:
        generator = np.random.default_rng([5, seed])
        patients, held = int(generator.integers(15, 70)), int(generator.integers(10, 60))
        whole = seed % 3 != 0
        truth = generator.normal(size=patients + held)
        happens, leaves = generator.exponential(12 * np.exp(-truth)), generator.exponential(18, size=patients + held)
        time, event = np.minimum(happens, leaves) + 0.2, happens <= leaves
        time = np.ceil(time / 2) if whole else time
        # The longest follow-up of the training part ends with an event: G is above 0 up to there, and scikit-survival,
        # which wants weights for all test patients, has them.
        time[0], event[0] = time.max() + 1, True
        risk = np.round(truth + generator.normal(size=patients + held), int(generator.integers(0, 3)))[patients:]
        test = time[patients:], event[patients:]
        low, high = test[0].min(), test[0].max()
        times = np.unique(np.quantile(test[0], [0.15, 0.4, 0.6, 0.85]))
        times = times[(times >= low) & (times < high)]
        survival = np.sort(generator.random((held, len(times))), axis=1)[:, ::-1]
        return cls((time[:patients], event[:patients]), test, risk, times, survival)


def check(seed: int) -> int:
    """Compare one sample; how many of the metrics it could carry."""
    sample = Sample.drawn(seed)
    train, test = (Surv.from_arrays(event, time) for time, event in (sample.train, sample.test))
    time, event = sample.test
    once = np.ones((1, len(time)), dtype=np.float32)
    c = harrell_c(time, event, sample.risk)
    if np.isnan(c) or len(sample.times) < 2:
        return 0
    assert c == pytest.approx(concordance_index(time, -sample.risk, event), abs=1e-6)
    assert c == pytest.approx(concordance_index_censored(event, time, sample.risk)[0], abs=1e-6)
    assert harrell_pairs(time, event, sample.risk).index(once)[0] == pytest.approx(c, abs=1e-12)
    censoring, done = Censoring.of(*sample.train), 1
    tau = float(sample.times[-1])
    if (event & (time < tau)).any():
        expected = concordance_index_ipcw(train, test, sample.risk, tau=tau)[0]
        assert uno_c(time, event, sample.risk, censoring, tau) == pytest.approx(expected, abs=1e-6)
        expected = concordance_index_ipcw(train, test, sample.risk)[0]
        assert uno_c(time, event, sample.risk, censoring) == pytest.approx(expected, abs=1e-6)
        done += 1
    # scikit-survival divides by 0 where nobody has died yet.
    if (event & (time <= sample.times[0])).any():
        each, mean = cumulative_dynamic_auc(train, test, sample.risk, sample.times)
        ours = DynamicAuc.of(time, event, sample.risk, censoring, sample.times)
        assert ours.at_times(once)[0] == pytest.approx(each, abs=1e-6)
        assert ours.mean(once)[0] == pytest.approx(mean, abs=1e-6)
        done += 1
    terms = brier_terms(time, event, sample.survival, sample.times, censoring)
    assert terms.mean(axis=0) == pytest.approx(brier_score(train, test, sample.survival, sample.times)[1], abs=1e-6)
    expected = integrated_brier_score(train, test, sample.survival, sample.times)
    assert integrated(terms, sample.times).mean() == pytest.approx(expected, abs=1e-6)
    return done + 1


def test_a_hundred_samples_equal_the_libraries() -> None:
    carried = [check(seed) for seed in range(100)]
    assert np.mean(np.array(carried) == 4) > 0.9


@pytest.mark.slow
def test_five_hundred_samples_equal_the_libraries() -> None:
    carried = [check(seed) for seed in range(500)]
    assert np.mean(np.array(carried) == 4) > 0.9
