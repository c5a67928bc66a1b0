"""Which cells are drawn, and which donors are held out; neither depends on the order of the cells in the file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]

# Up to this many donors every choice is compared; beyond, a search from several starts flips one donor at a time.
_EXHAUSTIVE = 12
_STARTS = 16


def draws(seed: int, use: str, names: Iterable[str]) -> NDArray[np.uint64]:
    """A random number for each name, of its own name alone."""
    digests = (hashlib.sha256(f"{seed}/{use}/{name}".encode()).digest()[:8] for name in names)
    return np.frombuffer(b"".join(digests), dtype=">u8").astype(np.uint64)


def lowest(numbers: NDArray[np.uint64], codes: Counts, take: Counts) -> NDArray[np.bool_]:
    """The ``take[c]`` cells of each class c with the lowest numbers."""
    order = np.lexsort((numbers, codes))
    sizes = np.bincount(codes, minlength=len(take))
    rank = np.empty(len(codes), dtype=np.int64)
    rank[order] = np.arange(len(codes)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return rank < take[codes]


def held_out_cells(numbers: NDArray[np.uint64], codes: Counts, fraction: float) -> NDArray[np.bool_]:
    """Cells of the valid part, of each class its share, and at least one cell on either side."""
    sizes = np.bincount(codes)
    return lowest(numbers, codes, np.clip(np.rint(fraction * sizes).astype(np.int64), 1, np.maximum(sizes - 1, 1)))


def held_out_groups(table: Counts, fraction: float, seed: int) -> NDArray[np.bool_]:
    """Whole donors of the valid part.

    Sought, in this order: no class without training cells, as few classes as possible without valid cells, shares of
    the classes and of all cells near `fraction`. Where the first leaves nobody to hold out, nobody is held out.

    Args:
        table: Cells [donors, classes], donors in the order of their names, no empty class.
        fraction: Share of cells of the valid part.
        seed: Of the starts of the search.

    Returns:
        [donors].
    """
    donors = len(table)
    if donors <= _EXHAUSTIVE:
        masks = (np.arange(2**donors)[:, None] >> np.arange(donors)) & 1 == 1
    else:
        random = np.random.default_rng(draws(seed, "starts", ["parts"]))
        starts = random.random((_STARTS, donors)) < fraction
        masks = np.array([_descended(start, table, fraction) for start in starts])
    best: NDArray[np.bool_] = masks[_order(masks.astype(np.int64) @ table, table.sum(axis=0), fraction)[0]]
    return best


def _descended(mask: NDArray[np.bool_], table: Counts, fraction: float) -> NDArray[np.bool_]:
    """Flip the donor that helps most until none does."""
    total, current = table.sum(axis=0), mask.copy()
    while True:
        valid = table[current].sum(axis=0)
        flipped = valid + np.where(current[:, None], -table, table)
        first = _order(np.concatenate([valid[None], flipped]), total, fraction)[0]
        if first == 0:
            return current
        current[first - 1] ^= True


def _order(valid: Counts, total: Counts, fraction: float) -> NDArray[np.int64]:
    """Choices from best to worst by their valid cells [choices, classes]; the earlier one where they are equal."""
    imbalance = np.abs(valid / total - fraction).mean(axis=1) + np.abs(valid.sum(axis=1) / total.sum() - fraction)
    return np.lexsort((imbalance.round(12), (valid == 0).sum(axis=1), (valid == total).sum(axis=1)))
