"""Expression values to bins by quantiles of one cell (spec scgpt 4.2)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pathomix.core.parameters import choice

TIES = ("random", "low", "mid", "upper")


def bin_ranges(values: NDArray[np.floating], n_bins: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Lowest and highest bin each value may have.

    The edges are n_bins - 1 quantiles of the values, linearly interpolated at equally spaced levels from 0 to 1. A
    value that equals at most one edge has one bin: the number of edges that do not exceed it.

    Args:
        values: Positive expression [n] of one cell, n at least 1.
        n_bins: Bins including 0, which stands for no expression.

    Returns:
        Both int64 [n], from 1 to n_bins - 1.
    """
    edges = np.quantile(values, np.linspace(0, 1, n_bins - 1))
    below = np.searchsorted(edges, values, side="left")
    reached = np.searchsorted(edges, values, side="right")
    return np.minimum(below + 1, reached), reached


def binned(
    values: NDArray[np.floating], n_bins: int, ties: str, uniform: NDArray[np.float64] | None = None
) -> NDArray[np.int64]:
    """Bins of the positive values of one cell.

    Unchanged by any strictly increasing transform of the values, up to the rounding of edges.

    Args:
        values: Positive expression [n] of one cell, n at least 1.
        n_bins: Bins including 0.
        ties: Which bin of its range a value gets that equals several edges: a ``random`` one (the reference), the
            lowest (``low``), the middle one, rounded up (``mid``), or the highest (``upper``).
        uniform: For ``random``, numbers in [0, 1) [n].

    Returns:
        int64 [n], from 1 to n_bins - 1.
    """
    choice(ties, TIES, "ties")
    low, high = bin_ranges(values, n_bins)
    if ties == "low":
        return low
    if ties == "upper":
        return high
    if ties == "mid":
        return low - 1 + (high - low + 2) // 2
    assert uniform is not None
    # The reference's order of operations; rounding could take it just below the lowest bin.
    drawn = np.maximum(np.ceil(high - uniform * (high - low + 1)).astype(np.int64), low)
    return np.where(low == high, high, drawn)
