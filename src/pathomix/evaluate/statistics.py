"""Prepared statistics: the value of a metric on one test fold, and under any reweighting of its patients.

A metric is *prepared* once per fold; what does not depend on the resample (which pairs are comparable, which are
concordant, which patients are right, what a patient's error is) is laid down, and every bootstrap resample is then a
row of a matrix product or of a running sum.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pathomix.survival.dynamic_auc import DynamicAuc
from pathomix.survival.pairs import Pairs

Floats = NDArray[np.float64]
Counts = NDArray[np.float32]


class UndefinedMetric(ValueError):
    """The fold cannot carry the metric; the message is the reason."""


class Statistic(Protocol):
    """A metric of one test part."""

    @property
    def value(self) -> float:
        """The statistic with every patient once."""
        ...

    def resample(self, weights: Counts) -> Floats:
        """Statistic of each row of patient counts [resamples, n]; NaN where a resample cannot carry it."""
        ...


@dataclass(frozen=True)
class PairStatistic:
    """Mean over terms of (weighted concordant pairs) / (weighted comparable pairs).

    Attributes:
        value: The statistic with every patient once.
        terms: One per class, or a single one.
    """

    value: float
    terms: tuple[Pairs, ...]

    @classmethod
    def of(cls, *terms: Pairs) -> PairStatistic:
        """The statistic of pairs that are laid down."""
        return cls(float(np.mean([term.index(_once(len(term.comparable)))[0] for term in terms])), terms)

    def resample(self, weights: Counts) -> Floats:
        """Statistic of each row of patient counts [resamples, n]; NaN where a resample has no comparable pair."""
        return np.asarray(np.mean([term.index(weights) for term in self.terms], axis=0))


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

    def resample(self, weights: Counts) -> Floats:
        """Statistic of each row of patient counts [resamples, n]; NaN where a resample lost a class."""
        recall = _ratio(_sums(weights, self.right), _sums(weights, self.member))
        return np.asarray(recall.mean(axis=1))


@dataclass(frozen=True)
class F1Statistic:
    """Mean over classes of 2 x right / (patients of the class + patients predicted so).

    Attributes:
        value: The statistic with every patient once.
        right: float32 [n, classes]: 1 where the patient is of the class and predicted so.
        member: float32 [n, classes]: 1 where the patient is of the class.
        chosen: float32 [n, classes]: 1 where the patient is predicted to be of the class.
    """

    value: float
    right: NDArray[np.float32]
    member: NDArray[np.float32]
    chosen: NDArray[np.float32]

    def resample(self, weights: Counts) -> Floats:
        """Statistic of each row of patient counts [resamples, n]; NaN where a resample lost a class."""
        right, member, chosen = (_sums(weights, matrix) for matrix in (self.right, self.member, self.chosen))
        scores = _ratio(2.0 * right, np.where(member > 0, member + chosen, 0.0))
        return np.asarray(scores.mean(axis=1))


@dataclass(frozen=True)
class MeanStatistic:
    """Mean of one number per patient.

    Attributes:
        terms: [n].
    """

    terms: Floats

    @property
    def value(self) -> float:
        """The statistic with every patient once."""
        return float(self.terms.mean())

    def resample(self, weights: Counts) -> Floats:
        """Statistic of each row of patient counts [resamples, n]; NaN where a resample has no patient."""
        drawn = weights.astype(np.float64)
        return _ratio(drawn @ self.terms, drawn.sum(axis=1))


@dataclass(frozen=True)
class AucStatistic:
    """Mean time-dependent AUC.

    Attributes:
        value: The statistic with every patient once.
        curve: Patients and times.
    """

    value: float
    curve: DynamicAuc

    @classmethod
    def of(cls, curve: DynamicAuc) -> AucStatistic:
        """The statistic of a prepared sample."""
        return cls(float(curve.mean(_once(len(curve.time)))[0]), curve)

    def resample(self, weights: Counts) -> Floats:
        """Statistic of each row of patient counts [resamples, n]; NaN where a time lost its cases or controls."""
        return self.curve.mean(weights)


def _once(patients: int) -> Counts:
    return np.ones((1, patients), dtype=np.float32)


def _sums(weights: Counts, matrix: NDArray[np.float32]) -> Floats:
    return np.asarray((weights @ matrix).astype(np.float64))


def _ratio(top: Floats, bottom: Floats) -> Floats:
    return np.asarray(np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom > 0))
