"""Concordance as pairs of patients laid down once and counted under every bootstrap resample by matrix products."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pathomix.survival.censoring import Censoring
from pathomix.survival.concordance import checked_outcome

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Pairs:
    """Comparable pairs (i, j) of one sample: i comes from `first`, j is anybody.

    Attributes:
        first: int [m], the patients that lead a pair.
        concordant: float32 [n, m]: 1 where (i, j) is comparable and ordered right, 1/2 where tied.
        comparable: float32 [n, m]: 1 where (i, j) counts.
        weight: [m], weight of the pairs each of `first` leads.
    """

    first: NDArray[np.intp]
    concordant: NDArray[np.float32]
    comparable: NDArray[np.float32]
    weight: Floats

    def index(self, counts: NDArray[np.float32]) -> Floats:
        """Share of concordant pairs in each row of patient counts [resamples, n]; NaN without a comparable pair."""
        leading = counts[:, self.first]
        top, bottom = (self._sum(counts, leading, matrix) for matrix in (self.concordant, self.comparable))
        return np.asarray(np.divide(top, bottom, out=np.full(len(counts), np.nan), where=bottom > 0))

    def _sum(self, counts: NDArray[np.float32], leading: NDArray[np.float32], matrix: NDArray[np.float32]) -> Floats:
        # Counts times 0, 1/2 or 1: the float32 products are exact below 2^23; only the last sum needs float64.
        led = (counts @ matrix) * leading
        return np.asarray(led.astype(np.float64) @ self.weight)


def laid_down(first: NDArray[np.bool_], comparable: NDArray[np.bool_], score: Floats, weight: Floats) -> Pairs:
    """Pairs of a score: a larger one of the leading patient is concordant, an equal one half so.

    Args:
        first: [n], who may lead a pair.
        comparable: [n, m], whether anybody is comparable with each of the m that lead.
        score: [n].
        weight: [m].
    """
    own = score[first]
    larger = (own > score[:, None]).astype(np.float32) + np.float32(0.5) * (own == score[:, None])
    pairs = comparable.astype(np.float32)
    return Pairs(np.flatnonzero(first), larger * pairs, pairs, weight)


def comparable_with(time: Floats, event: NDArray[np.bool_], first: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether the event of each of `first` came before a patient's time, or at his censoring time, [n, m]."""
    earlier = time[first] < time[:, None]
    tied = (time[first] == time[:, None]) & ~event[:, None]
    return np.asarray(earlier | tied)


def harrell_pairs(time: ArrayLike, event: ArrayLike, risk: ArrayLike) -> Pairs:
    """Harrell's pairs; see `concordance.harrell` for which they are.

    Args:
        time: [n], any unit.
        event: [n], 1 = happened.
        risk: [n], finite, higher = worse.
    """
    times, events = checked_outcome(time, event)
    comparable = comparable_with(times, events, events)
    return laid_down(events, comparable, np.asarray(risk, dtype=np.float64), np.ones(int(events.sum())))


def uno_pairs(time: ArrayLike, event: ArrayLike, risk: ArrayLike, censoring: Censoring, tau: float) -> Pairs:
    """Pairs of Uno's c: Harrell's, led by events before `tau` and weighted by 1 / G(t_i)^2.

    As in scikit-survival, but equal risks are those that are equal (there: within 1e-8), and only events before `tau`
    need a weight.

    Args:
        time: [n], unit of `censoring`.
        event: [n], 1 = happened.
        risk: [n], finite, higher = worse.
        censoring: Of the training part.
        tau: Truncation time; events at or after it lead no pair.

    Raises:
        PathomixError: An event before `tau` lies where no censoring weights exist.
    """
    times, events = checked_outcome(time, event)
    first = events & (times < tau)
    weight = censoring.weights(times, first)[first] ** 2
    return laid_down(first, comparable_with(times, events, first), np.asarray(risk, dtype=np.float64), weight)


def uno_c(time: ArrayLike, event: ArrayLike, risk: ArrayLike, censoring: Censoring, tau: float = np.inf) -> float:
    """Uno's concordance index, NaN where no pair is comparable; see `uno_pairs`."""
    pairs = uno_pairs(time, event, risk, censoring, tau)
    return float(pairs.index(np.ones((1, len(pairs.comparable)), dtype=np.float32))[0])
