"""Kaplan-Meier curves: of the events, of the censoring, and of every bootstrap resample at once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from pathomix.core.errors import PathomixError
from pathomix.survival.concordance import checked_outcome

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class KaplanMeier:
    """A product-limit estimate, right-continuous, 1 before the first time.

    Attributes:
        time: [k] distinct observed times, ascending.
        at_risk: [k] patients at risk at each.
        happened: [k] events at each.
    """

    time: Floats
    at_risk: Floats
    happened: Floats

    @cached_property
    def survival(self) -> Floats:
        """[k], the estimate at and after each time."""
        share = np.divide(self.happened, self.at_risk, out=np.zeros_like(self.happened), where=self.at_risk > 0)
        return np.asarray(np.cumprod(1.0 - share))

    @property
    def last(self) -> float:
        """End of follow-up."""
        return float(self.time[-1])

    def at(self, when: ArrayLike) -> Floats:
        """Survival at any times; constant after the last one."""
        place = np.searchsorted(self.time, np.asarray(when, dtype=np.float64), side="right")
        return np.asarray(np.r_[1.0, self.survival][place])

    def interval(self, when: float, level: float = 0.95) -> tuple[float, float]:
        """Pointwise interval on the scale log(-log S) with Greenwood's variance; both ends S where S is 0 or 1."""
        estimate = float(self.at(when))
        if not 0.0 < estimate < 1.0:
            return estimate, estimate
        so_far = self.time <= when
        left = self.at_risk[so_far] - self.happened[so_far]
        greenwood = float(np.sum(self.happened[so_far] / (self.at_risk[so_far] * left)))
        centre = np.log(-np.log(estimate))
        reach = float(ndtri((1 + level) / 2)) * np.sqrt(greenwood) / abs(np.log(estimate))
        return float(np.exp(-np.exp(centre + reach))), float(np.exp(-np.exp(centre - reach)))


def kaplan_meier(time: ArrayLike, event: ArrayLike) -> KaplanMeier:
    """Survival of the patients; at a tied time censoring comes after the event.

    Args:
        time: [n], any unit, n at least 1.
        event: [n], 1 = happened.

    Raises:
        PathomixError: No patient, or the outcome is invalid.
    """
    when, at_risk, happened, _ = _counted(time, event)
    return KaplanMeier(when, at_risk, happened)


def censoring_curve(time: ArrayLike, event: ArrayLike) -> KaplanMeier:
    """Kaplan-Meier of the time of censoring: G(t), the probability of being followed beyond t.

    At a tied time the events come first, so those who had one are not at risk of being censored there (the convention
    of scikit-survival, golden set ``survival_statistics``).

    Args:
        time: [n], any unit, n at least 1.
        event: [n], 1 = happened.

    Raises:
        PathomixError: No patient, or the outcome is invalid.
    """
    when, at_risk, happened, censored = _counted(time, event)
    return KaplanMeier(when, at_risk - happened, censored)


def _counted(time: ArrayLike, event: ArrayLike) -> tuple[Floats, Floats, Floats, Floats]:
    """Distinct times, patients at risk, events, censored."""
    times, events = checked_outcome(time, event)
    if not len(times):
        raise PathomixError("no patient to estimate a survival curve from", remedy="pass at least one")
    when, place = np.unique(times, return_inverse=True)
    everybody = np.bincount(place, minlength=len(when)).astype(np.float64)
    happened = np.bincount(place, weights=events, minlength=len(when))
    at_risk = np.cumsum(everybody[::-1])[::-1]
    return when, at_risk, happened.astype(np.float64), everybody - happened


def resampled_survival(time: ArrayLike, event: ArrayLike, drawn: NDArray[np.float32], when: Floats) -> Floats:
    """Kaplan-Meier at some times in every resample, [k, resamples].

    Args:
        time: [n], any unit.
        event: [n], 1 = happened.
        drawn: [n, resamples], how often each patient is drawn; quickest in C order.
        when: [k], ascending.
    """
    times, events = checked_outcome(time, event)
    order = np.argsort(times, kind="stable")
    times, events = times[order], events[order]
    jumps = np.unique(times[events])
    jumps = jumps[jumps <= np.max(when, initial=-np.inf)]
    result = np.ones((len(when) + 1, drawn.shape[1]))
    if not len(jumps):
        return result[1:]
    # Sums of counts: exact in float32 below 2^24. Patients after the last jump are at risk, their own events do not
    # count.
    at_risk = np.cumsum(drawn[order[::-1]], axis=0)[::-1][np.searchsorted(times, jumps)]
    dying = np.flatnonzero(events & (times <= jumps[-1]))
    happened = drawn[order[dying]]
    if len(dying) > len(jumps):
        happened = np.add.reduceat(happened, np.searchsorted(times[dying], jumps), axis=0)
    left = 1.0 - np.divide(happened, at_risk, out=np.zeros(at_risk.shape), where=at_risk > 0, dtype=np.float64)
    ends = np.searchsorted(jumps, when, side="right")
    for place, (start, end) in enumerate(zip(np.r_[0, ends[:-1]], ends, strict=True)):
        result[place + 1] = result[place] * left[start:end].prod(axis=0)
    return result[1:]
