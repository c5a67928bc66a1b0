"""Holm's step-down adjustment of p-values for how many there are (Holm, Scand J Stat 1979)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Adjusted p-values: below 0.05 where Holm's procedure rejects at a family-wise level of 5 %.

    Args:
        p_values: [m]; NaN is a comparison that was not tested: it stays NaN and does not count among the tests.

    Returns:
        [m], at most 1, in the order given.
    """
    p = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full(p.shape, np.nan)
    tested = np.flatnonzero(np.isfinite(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)), 1.0)
    return adjusted
