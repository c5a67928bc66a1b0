"""Metrics against loops over pairs and patients, scikit-learn, and replicated data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from pathomix.evaluate.metrics import METRICS, UndefinedMetric, balanced_accuracy, c_index, macro_auc, metrics_of
from pathomix.evaluate.parts import TestPart


def part(time=(), event=(), risk=(), label=(), classes=(), probability=None) -> TestPart:
    n = max(len(time), len(label))
    empty = np.full(n, np.nan)
    return TestPart(
        position=np.arange(n),
        time=np.asarray(time, float) if len(time) else empty,
        event=np.asarray(event, float) if len(event) else empty,
        risk=np.asarray(risk, float) if len(risk) else empty,
        class_label=np.array(list(label) or [None] * n, dtype=object),
        classes=tuple(classes),
        probability=np.zeros((n, 0)) if probability is None else np.asarray(probability, float),
        tested=frozenset(map(str, range(n))),
        missing=frozenset(),
    )


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


def classified(seed: int, n: int = 40, classes=("A", "B", "C")):
    generator = np.random.default_rng(seed)
    label = np.array(classes, dtype=object)[np.arange(n) % len(classes)]
    scores = generator.random((n, len(classes))) + 0.5 * (label[:, None] == np.array(classes)[None, :])
    return label, (scores / scores.sum(axis=1, keepdims=True)).round(2)


@pytest.mark.parametrize("classes", [("A", "B"), ("A", "B", "C")])
def test_class_metrics_equal_scikit_learn_also_on_resamples(classes):
    label, probability = classified(3, classes=classes)
    fold = part(label=label, classes=classes, probability=probability)
    counts = np.random.default_rng(0).multinomial(len(label), np.full(len(label), 1 / len(label)), size=20)
    for weights, metric in ((counts, balanced_accuracy), (counts, macro_auc)):
        statistic = metric(fold)
        drawn = statistic.resample(weights.astype(np.float32))
        for row, value in zip([np.ones(len(label), int), *weights], [statistic.value, *drawn], strict=True):
            rows = np.repeat(np.arange(len(label)), row)
            if metric is balanced_accuracy:
                chosen = np.array(classes, dtype=object)[probability.argmax(axis=1)]
                truth = balanced_accuracy_score(label[rows].astype(str), chosen[rows].astype(str))
            else:
                areas = [roc_auc_score(label[rows] == name, probability[rows, k]) for k, name in enumerate(classes)]
                truth = np.mean(areas)
            assert value == pytest.approx(truth, abs=1e-6)


@pytest.mark.parametrize(
    ("fold", "metric", "reason"),
    [
        (part([1, 2, 3], [0, 0, 0], [1, 2, 3]), c_index, "no event"),
        (part([1, 3, 3], [0, 1, 1], [1, 2, 3]), c_index, "no comparable pair"),
        (part([1, 2, 3], [1, 1, 0], [5, 5, 5]), c_index, "same for every test patient"),
        (part(label=["A", "A"], classes=("A", "B"), probability=[[1, 0], [0, 1]]), balanced_accuracy, "only one class"),
        (
            part(label=["A", "B"], classes=("A", "B", "C"), probability=[[1, 0, 0], [0, 1, 0]]),
            balanced_accuracy,
            "no test patient of class C",
        ),
        (
            part(label=["A", "B", "D"], classes=("A", "B"), probability=[[1, 0], [0, 1], [0, 1]]),
            macro_auc,
            "never seen in training: D",
        ),
        (
            part(label=["A", "B"], classes=("A", "B"), probability=[[0.4, 0.6], [0.4, 0.6]]),
            macro_auc,
            "same for every test patient",
        ),
    ],
)
def test_what_a_fold_cannot_carry_is_a_reason_not_a_number(fold, metric, reason):
    with pytest.raises(UndefinedMetric, match=reason):
        metric(fold)


def test_a_resample_that_lost_a_class_is_missing():
    statistic = balanced_accuracy(part(label=["A", "B"], classes=("A", "B"), probability=[[0.9, 0.1], [0.2, 0.8]]))
    drawn = statistic.resample(np.array([[1, 1], [2, 0]], dtype=np.float32))
    assert drawn[0] == 1.0 and np.isnan(drawn[1])


def test_the_main_metric_of_each_task_comes_first():
    assert [metrics_of(task)[0].name for task in ("survival", "subtype")] == ["c_index", "balanced_accuracy"]
    assert all(METRICS[name].name == name for name in METRICS)
