"""Metrics of class probabilities against scikit-learn, also on resamples."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score, roc_auc_score

from pathomix.evaluate.class_metrics import balanced_accuracy, macro_auc, macro_f1
from pathomix.evaluate.parts import TestPart
from pathomix.evaluate.statistics import UndefinedMetric


def part(label, classes, probability) -> TestPart:
    n = len(label)
    return TestPart(
        position=np.arange(n),
        time=np.full(n, np.nan),
        event=np.full(n, np.nan),
        risk=np.full(n, np.nan),
        class_label=np.array(list(label), dtype=object),
        classes=tuple(classes),
        probability=np.asarray(probability, float),
        tested=frozenset(map(str, range(n))),
        missing=frozenset(),
    )


def classified(seed: int, n: int = 40, classes=("A", "B", "C")):
    generator = np.random.default_rng(seed)
    label = np.array(classes, dtype=object)[np.arange(n) % len(classes)]
    scores = generator.random((n, len(classes))) + 0.5 * (label[:, None] == np.array(classes)[None, :])
    return label, (scores / scores.sum(axis=1, keepdims=True)).round(2)


def by_scikit_learn(metric, label, probability, classes) -> float:
    if metric is macro_auc:
        return float(np.mean([roc_auc_score(label == name, probability[:, k]) for k, name in enumerate(classes)]))
    chosen = np.array(classes, dtype=object)[probability.argmax(axis=1)]
    if metric is macro_f1:
        return float(f1_score(label.astype(str), chosen.astype(str), average="macro", labels=list(classes)))
    return float(balanced_accuracy_score(label.astype(str), chosen.astype(str)))


@pytest.mark.parametrize("classes", [("A", "B"), ("A", "B", "C")])
@pytest.mark.parametrize("metric", [balanced_accuracy, macro_auc, macro_f1])
def test_equals_scikit_learn_also_on_resamples(metric, classes):
    label, probability = classified(3, classes=classes)
    counts = np.random.default_rng(0).multinomial(len(label), np.full(len(label), 1 / len(label)), size=20)
    statistic = metric(part(label, classes, probability))
    drawn = statistic.resample(counts.astype(np.float32))
    for row, value in zip([np.ones(len(label), int), *counts], [statistic.value, *drawn], strict=True):
        rows = np.repeat(np.arange(len(label)), row)
        assert value == pytest.approx(by_scikit_learn(metric, label[rows], probability[rows], classes), abs=1e-6)


def test_a_class_that_nobody_is_predicted_to_be_has_an_f1_of_0():
    statistic = macro_f1(part(["A", "B", "B"], ("A", "B"), [[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]]))
    assert statistic.value == pytest.approx((2 * 1 / (1 + 3) + 0) / 2)


@pytest.mark.parametrize("metric", [balanced_accuracy, macro_auc, macro_f1])
@pytest.mark.parametrize(
    ("label", "classes", "probability", "reason"),
    [
        (["A", "A"], ("A", "B"), [[1, 0], [0, 1]], "only one class"),
        (["A", "B"], ("A", "B", "C"), [[1, 0, 0], [0, 1, 0]], "no test patient of class C"),
        (["A", "B", "D"], ("A", "B"), [[1, 0], [0, 1], [0, 1]], "never seen in training: D"),
        (["A", "B"], ("A", "B"), [[0.4, 0.6], [0.4, 0.6]], "same for every test patient"),
    ],
)
def test_what_a_fold_cannot_carry_is_a_reason_not_a_number(metric, label, classes, probability, reason):
    with pytest.raises(UndefinedMetric, match=reason):
        metric(part(label, classes, probability))
