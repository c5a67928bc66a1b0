"""Metrics of one test part: against loops, the libraries and themselves; every case a fold cannot carry."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.metrics import concordance_index_ipcw, cumulative_dynamic_auc, integrated_brier_score
from sksurv.util import Surv

from pathomix.evaluate.parts import TestPart, TrainedRisks
from pathomix.evaluate.statistics import UndefinedMetric
from pathomix.evaluate.survival_metrics import auc_t, c_index, ibs, uno_c
from pathomix.survival.censoring import Censoring

ALL = (c_index, uno_c, auc_t, ibs)
WEIGHTED = (uno_c, auc_t, ibs)


def part(time, event, risk, times=(), trained: TrainedRisks | None = None) -> TestPart:
    n = len(time)
    return TestPart(
        position=np.arange(n),
        time=np.asarray(time, float),
        event=np.asarray(event, float),
        risk=np.asarray(risk, float),
        class_label=np.array([None] * n, dtype=object),
        classes=(),
        probability=np.zeros((n, 0)),
        tested=frozenset(map(str, range(n))),
        missing=frozenset(),
        times=np.asarray(times, float),
        censoring=None if trained is None else Censoring.of(trained.time, trained.event),
        trained=trained,
    )


def simulated(seed: int, patients: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    truth = generator.normal(size=patients)
    happens, leaves = generator.exponential(20 * np.exp(-truth)), generator.exponential(30, size=patients)
    return np.minimum(happens, leaves), (happens <= leaves).astype(float), truth + generator.normal(size=patients)


def whole(seed: int = 0) -> TestPart:
    trained = TrainedRisks(*simulated(seed, 150))
    return part(*simulated(seed + 1000, 60), times=(4.0, 8.0, 12.0, 16.0), trained=trained)


def brute_c(time, event, risk) -> float:
    good = pairs = 0.0
    for i in range(len(time)):
        for j in range(len(time)):
            if event[i] and (time[i] < time[j] or (time[i] == time[j] and not event[j])):
                pairs += 1
                good += 1.0 if risk[i] > risk[j] else 0.5 if risk[i] == risk[j] else 0.0
    return good / pairs if pairs else float("nan")


survival_data = st.integers(3, 12).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(1, 6), min_size=n, max_size=n),
        st.lists(st.integers(0, 1), min_size=n, max_size=n),
        st.lists(st.integers(-3, 3), min_size=n, max_size=n),
        st.lists(st.integers(0, 3), min_size=n, max_size=n),
    )
)


@settings(max_examples=200, deadline=None)
@given(survival_data)
def test_c_index_and_its_resamples_equal_the_loop_on_tied_censored_data(data):
    time, event, risk, counts = (np.array(item) for item in data)
    expected = brute_c(time, event, risk)
    try:
        statistic = c_index(part(time, event, risk))
    except UndefinedMetric:
        assert np.isnan(expected) or np.ptp(risk) == 0
        return
    assert statistic.value == pytest.approx(expected, abs=1e-12)
    weights = np.stack([np.ones(len(time)), counts]).astype(np.float32)
    drawn = statistic.resample(weights)
    assert drawn[0] == pytest.approx(expected, abs=1e-12)
    rows = np.repeat(np.arange(len(time)), counts)
    assert drawn[1] == pytest.approx(brute_c(time[rows], event[rows], risk[rows]), abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("seed", range(5))
def test_weighted_metrics_equal_scikit_survival(seed):
    test = whole(seed)
    # scikit-survival wants weights for the whole test part: its follow-up ends within the training part's.
    end = test.trained.time.max() - 1
    test = replace(test, event=np.where(test.time > end, 0.0, test.event), time=np.minimum(test.time, end))
    train = Surv.from_arrays(test.trained.event.astype(bool), test.trained.time)
    held = Surv.from_arrays(test.event.astype(bool), test.time)
    times = test.times
    assert uno_c(test).value == pytest.approx(
        concordance_index_ipcw(train, held, test.risk, tau=times[-1])[0], abs=1e-6
    )
    assert auc_t(test).value == pytest.approx(cumulative_dynamic_auc(train, held, test.risk, times)[1], abs=1e-6)
    cox = CoxPHSurvivalAnalysis(ties="breslow", tol=1e-12).fit(test.trained.risk[:, None], train)
    grid = np.linspace(times[0], times[-1], 50)
    curves = np.stack([curve(grid) for curve in cox.predict_survival_function(test.risk[:, None])])
    assert ibs(test).value == pytest.approx(integrated_brier_score(train, held, curves, grid), abs=1e-6)


@pytest.mark.parametrize("metric", ALL)
def test_resamples_equal_replicated_patients(metric):
    test = whole()
    counts = np.random.default_rng(1).multinomial(60, np.full(60, 1 / 60), size=8)
    statistic = metric(test)
    drawn = statistic.resample(np.concatenate([np.ones((1, 60)), counts]).astype(np.float32))
    assert drawn[0] == pytest.approx(statistic.value, abs=1e-12)
    for value, row in zip(drawn[1:], counts, strict=True):
        rows = np.repeat(np.arange(60), row)
        again = replace(test, **{name: getattr(test, name)[rows] for name in ("time", "event", "risk")})
        assert value == pytest.approx(metric(again).value, abs=1e-12)


def test_the_direction_of_each_metric():
    test = whole()
    better = replace(test, risk=test.risk - np.log(test.time))
    for metric in (c_index, uno_c, auc_t):
        assert metric(better).value > metric(test).value > 0.5
    shuffled = replace(test, risk=np.random.default_rng(0).permutation(test.risk))
    assert ibs(test).value < ibs(shuffled).value


def test_a_scale_of_the_risk_common_to_training_and_test_changes_nothing():
    test = whole()
    scaled = replace(test.trained, risk=1000 * test.trained.risk - 7)
    for metric in ALL:
        moved = replace(test, risk=1000 * test.risk - 7, trained=scaled)
        assert metric(moved).value == pytest.approx(metric(test).value, abs=1e-9)


@pytest.mark.parametrize("metric", ALL)
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"event": np.zeros(60)}, "no event among the test patients"),
        ({"risk": np.full(60, 5.0)}, "the risk is the same for every test patient"),
    ],
)
def test_no_event_and_one_risk_are_reasons_for_every_metric(metric, change, reason):
    with pytest.raises(UndefinedMetric, match=reason):
        metric(replace(whole(), **change))


@pytest.mark.parametrize("metric", WEIGHTED)
def test_times_beyond_the_training_part_and_no_training_part_are_reasons(metric):
    test = whole()
    end = test.trained.time.max()
    with pytest.raises(UndefinedMetric, match=f"{end + 1:.1f} lies beyond the follow-up .* ends at {end:.1f} months"):
        metric(replace(test, times=np.append(test.times, end + 1)))
    with pytest.raises(UndefinedMetric, match="no censoring weights without outcomes of the training part"):
        metric(replace(test, censoring=None))
    gone = Censoring.of([1, 2, 10, 16], [1, 1, 0, 0])
    with pytest.raises(UndefinedMetric, match=r"everybody .* is censored by 16\.0 months"):
        metric(replace(test, censoring=gone))


@pytest.mark.parametrize(
    ("trained", "reason"),
    [
        (None, "without predictions of the training part"),
        (TrainedRisks(np.arange(1.0, 5), np.ones(4), np.full(4, 2.0)), "the risk is the same for every patient"),
        (TrainedRisks(np.arange(1.0, 5), np.ones(4), np.arange(4.0)), "no finite coefficient"),
        (TrainedRisks(np.arange(1.0, 5), np.zeros(4), np.arange(4.0)), "no event"),
    ],
)
def test_the_brier_score_needs_a_model_of_the_training_risks_and_the_others_do_not(trained, reason):
    test = replace(whole(), trained=trained)
    with pytest.raises(UndefinedMetric, match=reason):
        ibs(test)
    assert uno_c(test).value == uno_c(whole()).value and auc_t(test).value == auc_t(whole()).value


@pytest.mark.parametrize(
    ("time", "event", "metric", "reason"),
    [
        ([1, 3, 3], [0, 1, 1], c_index, "no comparable pair"),
        ([20, 21, 22], [1, 1, 0], uno_c, "no comparable pair"),
        ([20, 21, 22], [1, 1, 0], auc_t, r"no test patient dies up to 16\.0 months"),
        ([1, 2, 10, 11], [1, 1, 1, 1], auc_t, r"no test patient is followed beyond 12\.0 months"),
    ],
)
def test_what_a_small_fold_lacks_is_named(time, event, metric, reason):
    test = whole()
    risk = np.arange(len(time), dtype=float)
    with pytest.raises(UndefinedMetric, match=reason):
        metric(replace(test, time=np.array(time, float), event=np.array(event, float), risk=risk))


def test_one_evaluation_time_spans_nothing():
    with pytest.raises(UndefinedMetric, match="all at one time"):
        ibs(replace(whole(), times=np.array([8.0])))
