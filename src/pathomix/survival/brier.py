"""Brier score of survival probabilities with censoring weights, and its integral (Graf et al. 1999)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pathomix.core.errors import PathomixError
from pathomix.survival.censoring import Censoring
from pathomix.survival.concordance import checked_outcome

Floats = NDArray[np.float64]


def brier_terms(
    time: ArrayLike, event: ArrayLike, survival: ArrayLike, times: ArrayLike, censoring: Censoring
) -> Floats:
    """What each patient adds to the Brier score at each time, [n, k]; the score is the mean over patients.

    S(t)^2 / G(t_i) for an event up to t, (1 - S(t))^2 / G(t) for a patient observed beyond t, 0 for one censored up to
    t.

    Args:
        time: [n], unit of `censoring`.
        event: [n], 1 = happened.
        survival: [n, k], predicted probability of being alive after each time.
        times: [k].
        censoring: Of the training part.

    Raises:
        PathomixError: No censoring weights exist up to the last time, or the shapes do not agree.
    """
    observed, events = checked_outcome(time, event)
    moments, alive = np.asarray(times, dtype=np.float64), np.asarray(survival, dtype=np.float64)
    if alive.shape != (len(observed), len(moments)):
        raise PathomixError(
            f"survival probabilities of shape {alive.shape} for {len(observed)} patients and {len(moments)} times",
            remedy="pass one row per patient and one column per time",
        )
    before = censoring.weights(observed, events, float(moments.max()))
    beyond = 1.0 / censoring.at(moments)
    died = events[:, None] & (observed[:, None] <= moments)
    followed = observed[:, None] > moments
    return np.asarray(alive**2 * (died * before[:, None]) + (1.0 - alive) ** 2 * (followed * beyond))


def integrated(terms: Floats, times: ArrayLike) -> Floats:
    """Mean over time of curves [..., k] by the trapezoidal rule, [...].

    Raises:
        PathomixError: The times do not ascend, or there are fewer than two.
    """
    moments = np.asarray(times, dtype=np.float64)
    if len(moments) < 2 or (np.diff(moments) <= 0).any():
        raise PathomixError("a Brier score cannot be integrated over these times", remedy="pass two or more, ascending")
    return np.asarray(np.trapezoid(terms, moments, axis=-1) / (moments[-1] - moments[0]))
