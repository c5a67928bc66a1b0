"""Metrics of predicted class probabilities: balanced accuracy, AUC and F1, each the plain mean over classes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pathomix.evaluate.parts import TestPart
from pathomix.evaluate.predictions import named
from pathomix.evaluate.statistics import F1Statistic, PairStatistic, RecallStatistic, UndefinedMetric
from pathomix.survival.pairs import Pairs, laid_down


def balanced_accuracy(test: TestPart) -> RecallStatistic:
    """Mean recall over the classes of the training part, the prediction being the most probable class.

    Raises:
        UndefinedMetric: A class is absent, in the test or in the training part, or all probabilities are equal.
    """
    member, chosen = _members(test), _chosen(test)
    right = member & chosen
    value = float((right.sum(axis=0) / member.sum(axis=0)).mean())
    return RecallStatistic(value, right.astype(np.float32), member.astype(np.float32))


def macro_f1(test: TestPart) -> F1Statistic:
    """Mean F1 over the classes of the training part, the prediction being the most probable class.

    Raises:
        UndefinedMetric: As for `balanced_accuracy`.
    """
    member, chosen = _members(test), _chosen(test)
    right = member & chosen
    value = float((2.0 * right.sum(axis=0) / (member.sum(axis=0) + chosen.sum(axis=0))).mean())
    return F1Statistic(value, *(matrix.astype(np.float32) for matrix in (right, member, chosen)))


def macro_auc(test: TestPart) -> PairStatistic:
    """Mean over classes of the one-against-rest area under the ROC curve (a pair statistic).

    Raises:
        UndefinedMetric: As for `balanced_accuracy`.
    """
    return PairStatistic.of(
        *(_against_rest(here, score) for here, score in zip(_members(test).T, test.probability.T, strict=True))
    )


def _against_rest(here: NDArray[np.bool_], score: NDArray[np.float64]) -> Pairs:
    inside = int(here.sum())
    return laid_down(here, np.repeat(~here[:, None], inside, axis=1), score, np.ones(inside))


def _members(test: TestPart) -> NDArray[np.bool_]:
    """Which class each patient is of: [n, classes of the training part]."""
    seen = set(test.class_label)
    if len(seen) < 2:
        raise UndefinedMetric("only one class among the test patients")
    if absent := set(test.classes) - seen:
        raise UndefinedMetric(f"no test patient of class {named(absent)}")
    if unseen := seen - set(test.classes):
        raise UndefinedMetric(f"classes never seen in training: {named(unseen)}")
    if (np.ptp(test.probability, axis=0) == 0).all():
        raise UndefinedMetric("the class probabilities are the same for every test patient")
    return np.asarray(test.class_label[:, None] == np.array(test.classes, dtype=object)[None, :])


def _chosen(test: TestPart) -> NDArray[np.bool_]:
    """The most probable class of each patient, the first of equals: [n, classes]."""
    chosen = np.zeros(test.probability.shape, dtype=bool)
    chosen[np.arange(len(chosen)), test.probability.argmax(axis=1)] = True
    return chosen
