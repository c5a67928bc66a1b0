"""The metrics of the tables, each with its value on one test fold and under any reweighting of the patients.

A metric is *prepared* once per fold; what does not depend on the resample (which pairs are comparable, which are
concordant, which patients are right) is laid down as a matrix, and every bootstrap resample is then a row of a matrix
product. A metric that the fold cannot carry raises `UndefinedMetric`: a reason, never a number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pathomix.evaluate.parts import TestPart
from pathomix.evaluate.predictions import named
from pathomix.survival.concordance import harrell_c

Floats = NDArray[np.float64]


class UndefinedMetric(ValueError):
    """The fold cannot carry the metric; the message is the reason."""


@dataclass(frozen=True)
class PairStatistic:
    """Mean over terms of (weighted concordant pairs) / (weighted comparable pairs).

    Attributes:
        value: The statistic with every patient once.
        concordant: Per term float32 [n, n]: 1 where the pair (i, j) is ordered right, 1/2 where tied.
        comparable: Per term float32 [n, n]: 1 where the pair (i, j) counts.
    """

    value: float
    concordant: tuple[NDArray[np.float32], ...]
    comparable: tuple[NDArray[np.float32], ...]

    def resample(self, weights: NDArray[np.float32]) -> Floats:
        """Statistic of each row of patient counts [resamples, n]; NaN where a resample has no comparable pair."""
        terms = [
            _ratio(_quadratic(weights, top), _quadratic(weights, bottom))
            for top, bottom in zip(self.concordant, self.comparable, strict=True)
        ]
        return np.asarray(np.mean(terms, axis=0), dtype=np.float64)


@dataclass(frozen=True)
class RecallStatistic:
    """Mean over classes of (weighted right patients) / (weighted patients of the class).

    Attributes:
        value: The statistic with every patient once.
        right: float32 [n, classes]: 1 where the patient is of the class and predicted so.
        member: float32 [n, classes]: 1 where the patient is of the class.
    """

    value: float
    right: NDArray[np.float32]
    member: NDArray[np.float32]

    def resample(self, weights: NDArray[np.float32]) -> Floats:
        """Statistic of each row of patient counts [resamples, n]; NaN where a resample lost a class."""
        recall = _ratio((weights @ self.right).astype(np.float64), (weights @ self.member).astype(np.float64))
        return np.asarray(recall.mean(axis=1))


Statistic = PairStatistic | RecallStatistic


def _quadratic(weights: NDArray[np.float32], matrix: NDArray[np.float32]) -> Floats:
    # Counts times 0, 1/2 or 1: the float32 product is exact below 2^23; only the last sum needs float64.
    return np.asarray(np.einsum("bn,bn->b", weights @ matrix, weights, dtype=np.float64))


def _ratio(top: Floats, bottom: Floats) -> Floats:
    return np.asarray(np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom > 0))


def comparable_pairs(time: Floats, event: Floats) -> NDArray[np.bool_]:
    """Harrell's comparable pairs [n, n]: i had the event before j's time, or at j's censoring time (spec section 9)."""
    happened = event == 1
    earlier = time[:, None] < time[None, :]
    tied = (time[:, None] == time[None, :]) & ~happened[None, :]
    return np.asarray(happened[:, None] & (earlier | tied))


def _ordered(score: Floats) -> NDArray[np.float32]:
    larger = (score[:, None] > score[None, :]).astype(np.float32)
    return np.asarray(larger + np.float32(0.5) * (score[:, None] == score[None, :]))


def c_index(test: TestPart) -> PairStatistic:
    """Harrell's concordance of `risk` (higher = worse) with `time` and `event`.

    Raises:
        UndefinedMetric: No event, no comparable pair, or one risk for everybody.
    """
    time, event, risk = test.time, test.event, test.risk
    if not event.any():
        raise UndefinedMetric("no event among the test patients")
    pairs = comparable_pairs(time, event)
    if not pairs.any():
        raise UndefinedMetric("no comparable pair among the test patients")
    if np.ptp(risk) == 0:
        raise UndefinedMetric("the risk is the same for every test patient")
    comparable = pairs.astype(np.float32)
    return PairStatistic(harrell_c(time, event, risk), (_ordered(risk) * comparable,), (comparable,))


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


def balanced_accuracy(test: TestPart) -> RecallStatistic:
    """Mean recall over the classes of the training part, the prediction being the most probable class.

    Raises:
        UndefinedMetric: A class is absent, in the test or in the training part, or all probabilities are equal.
    """
    member = _members(test)
    chosen = np.zeros_like(member)
    chosen[np.arange(len(member)), test.probability.argmax(axis=1)] = True
    right = (member & chosen).astype(np.float32)
    value = float((right.sum(axis=0) / member.sum(axis=0)).mean())
    return RecallStatistic(value, right, member.astype(np.float32))


def macro_auc(test: TestPart) -> PairStatistic:
    """Mean over classes of the one-against-rest area under the ROC curve (a pair statistic).

    Raises:
        UndefinedMetric: As for `balanced_accuracy`.
    """
    member = _members(test)
    comparable = tuple((here[:, None] & ~here[None, :]).astype(np.float32) for here in member.T)
    concordant = tuple(_ordered(p) * pairs for p, pairs in zip(test.probability.T, comparable, strict=True))
    value = float(np.mean([top.sum() / bottom.sum() for top, bottom in zip(concordant, comparable, strict=True)]))
    return PairStatistic(value, concordant, comparable)


@dataclass(frozen=True)
class Metric:
    """A column of the tables.

    Attributes:
        name: Key in the score tables.
        task: Task whose predictions it reads.
        label: Words for captions and axes.
        chance: Its value for predictions without information; None where that depends on the number of classes.
        prepare: Statistic of one test part.
    """

    name: str
    task: str
    label: str
    chance: float | None
    prepare: Callable[[TestPart], Statistic]


# The first metric of a task is the one its figures and the first panel of its table show.
METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("c_index", "survival", "Harrell's concordance index", 0.5, c_index),
        Metric("balanced_accuracy", "subtype", "balanced accuracy", None, balanced_accuracy),
        Metric("macro_auc", "subtype", "macro one-against-rest AUC", 0.5, macro_auc),
    )
}


def metrics_of(task: str) -> list[Metric]:
    """Metrics of a task, the main one first."""
    return [metric for metric in METRICS.values() if metric.task == task]
