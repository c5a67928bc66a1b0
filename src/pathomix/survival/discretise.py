"""Discrete time bins of the discrete-hazard survival models."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pathomix.core.errors import PathomixError
from pathomix.survival.concordance import checked_outcome

BinStyle = Literal["mcat", "mmp"]
OUTSIDE = -1


def survival_bins(time: ArrayLike, event: ArrayLike, bins: int, style: BinStyle = "mcat") -> NDArray[np.float64]:
    """Edges [bins + 1]: inner ones are quantiles (linear interpolation) of the times of patients with an event.

    Args:
        time: [n], of the training patients.
        event: [n], 1 = happened.
        bins: Number of intervals, at least 2.
        style: ``mcat`` (and SurvPath): outer edges min - 1e-6 and max + 1e-6 over all patients, intervals [a, b).
            ``mmp``: outer edges -1e-6 and 1e6, intervals (a, b].

    Raises:
        PathomixError: No event, or so few distinct event times that an interval would be empty.
    """
    times, events = checked_outcome(time, event)
    if not events.any():
        raise PathomixError("no event to take time quantiles from", remedy="use folds stratified by event")
    if bins < 2:
        raise PathomixError(f"{bins} time bins", remedy="set `bins` to at least 2")
    # Percentiles, not quantiles: an edge that falls on a patient's time must round as in the references (pandas.qcut).
    edges = np.percentile(times[events], 100.0 * np.linspace(0.0, 1.0, bins + 1))
    edges[0], edges[-1] = (times.min() - 1e-6, times.max() + 1e-6) if style == "mcat" else (-1e-6, 1e6)
    if (np.diff(edges) <= 0).any():
        raise PathomixError(
            f"{int(events.sum())} events do not fill {bins} time bins", remedy="set `bins` lower for this cohort"
        )
    return np.asarray(edges)


def bin_labels(time: ArrayLike, edges: ArrayLike, style: BinStyle = "mcat") -> NDArray[np.int64]:
    """Bin of each time [n], `OUTSIDE` (-1) for a time that no interval holds."""
    times, borders = np.asarray(time, dtype=np.float64), np.asarray(edges, dtype=np.float64)
    labels = np.searchsorted(borders, times, side="right" if style == "mcat" else "left") - 1
    inside = (labels >= 0) & (labels < len(borders) - 1)
    return np.where(inside, labels, OUTSIDE).astype(np.int64)


def clamped_labels(time: ArrayLike, edges: ArrayLike) -> NDArray[np.int64]:
    """Bin of each time with the outer intervals open-ended, for patients outside the training range."""
    inner = np.asarray(edges, dtype=np.float64)[1:-1]
    return np.searchsorted(inner, np.asarray(time, dtype=np.float64), side="right").astype(np.int64)
