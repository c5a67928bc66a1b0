"""Harrell's concordance index with its counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pathomix.core.errors import PathomixError

_CELLS = 4_000_000


@dataclass(frozen=True)
class Concordance:
    """Pair counts behind a c-index.

    Attributes:
        concordant: Comparable pairs in which the earlier event has the higher risk.
        discordant: Comparable pairs in which it has the lower risk.
        tied_risk: Comparable pairs with equal risk; each counts one half.
    """

    concordant: int
    discordant: int
    tied_risk: int

    @property
    def comparable(self) -> int:
        """All comparable pairs."""
        return self.concordant + self.discordant + self.tied_risk

    @property
    def index(self) -> float:
        """The c-index; NaN where no pair is comparable, never a default."""
        return (self.concordant + 0.5 * self.tied_risk) / self.comparable if self.comparable else float("nan")


def checked_outcome(time: ArrayLike, event: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Time and event as arrays of one length.

    Raises:
        PathomixError: A time is not finite, an event is not 0/1, or the lengths differ.
    """
    times = np.asarray(time, dtype=np.float64).ravel()
    events = np.asarray(event, dtype=np.float64).ravel()
    if len(times) != len(events):
        raise PathomixError(f"{len(times)} times but {len(events)} events", remedy="pass one of each per patient")
    bad = ~np.isfinite(times) | ~np.isin(events, (0.0, 1.0))
    if bad.any():
        raise PathomixError(
            "time is not finite or event is not 0/1 at rows",
            offending=np.flatnonzero(bad).tolist(),
            remedy="drop patients without an outcome before (Cases.with_survival)",
        )
    return times, events.astype(bool)


def harrell(time: ArrayLike, event: ArrayLike, risk: ArrayLike) -> Concordance:
    """Count Harrell's pairs; higher risk means earlier event.

    A pair (i, j) is comparable when i had the event and either ``t_i < t_j``, or ``t_i == t_j`` and j is censored.
    Equal risks count one half. Same convention as lifelines and scikit-survival (golden set ``survival_statistics``).

    Args:
        time: [n], any unit.
        event: [n], 1 = happened.
        risk: [n], finite.

    Raises:
        PathomixError: A risk is not finite (decide first what a missing prediction means), or the outcome is invalid.
    """
    times, events = checked_outcome(time, event)
    risks = np.asarray(risk, dtype=np.float64).ravel()
    if len(risks) != len(times):
        raise PathomixError(f"{len(risks)} risks but {len(times)} times", remedy="pass one of each per patient")
    if not np.isfinite(risks).all():
        raise PathomixError(
            "risk is not finite at rows",
            offending=np.flatnonzero(~np.isfinite(risks)).tolist(),
            remedy="drop or report patients without a prediction before",
        )
    counts = np.zeros(3, dtype=np.int64)
    cases = np.flatnonzero(events)
    step = max(1, _CELLS // max(1, len(times)))
    for start in range(0, len(cases), step):
        i = cases[start : start + step, None]
        comparable = (times[i] < times) | ((times[i] == times) & ~events)
        higher, lower = risks[i] > risks, risks[i] < risks
        counts += [
            np.count_nonzero(comparable & higher),
            np.count_nonzero(comparable & lower),
            np.count_nonzero(comparable & ~higher & ~lower),
        ]
    return Concordance(*(int(count) for count in counts))


def harrell_c(time: ArrayLike, event: ArrayLike, risk: ArrayLike) -> float:
    """Harrell's c-index, NaN where no pair is comparable; see `harrell`."""
    return harrell(time, event, risk).index
