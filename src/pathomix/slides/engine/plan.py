"""Which tiles are read together, and in which order: a function of each tiling alone, so that passes agree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

# Edge of a region in pixels of the level it is read from: a multiple of the native tiles of all usual scanners. Larger
# ones save nothing more and leave the processor's cache between decoding and cutting (benchmarks/embedding.py).
REGION_PIXELS = 1024
# Messages to decode processes stay small: they must never fill a pipe.
_MAX_TILES = 1024
SLOT_BYTES = 8 << 20


@dataclass(frozen=True)
class Tiling:
    """The tiles of a slide at one size and scale.

    Attributes:
        name: Name of the tiling.
        size: Tile edge in pixels at `mpp`.
        mpp: Target µm per pixel.
        level: Pyramid level that is read.
        downsample: Its level-0 pixels per pixel along x and y.
        coords: int64 [tiles, 2], level-0 pixels, in the order of the coordinate file.
    """

    name: str
    size: int
    mpp: float
    level: int
    downsample: tuple[float, float]
    coords: NDArray[np.int64]

    @cached_property
    def _cells(self) -> NDArray[np.int64]:
        side = REGION_PIXELS * np.asarray(self.downsample, dtype=np.float64)
        return np.floor(self.coords / side).astype(np.int64)

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """Positions in `coords` in the order of reading: region by region, row-major, as in the file within one."""
        return np.lexsort((self._cells[:, 0], self._cells[:, 1])).astype(np.int64)

    def regions(self) -> dict[tuple[int, int], tuple[int, int]]:
        """Row and column of each region that has tiles: first and last (exclusive) position in `order`."""
        if not len(self.coords):
            return {}
        ordered = self._cells[self.order]
        edges = [0, *(np.flatnonzero((np.diff(ordered, axis=0) != 0).any(axis=1)) + 1).tolist(), len(ordered)]
        return {(int(ordered[first, 1]), int(ordered[first, 0])): (first, last) for first, last in pairwise(edges)}


@dataclass(frozen=True)
class Part:
    """Consecutive tiles of one tiling in one read.

    Attributes:
        tiling: Name of the tiling.
        size: Tile edge in pixels at `mpp`.
        mpp: Target µm per pixel.
        first: Position of the first one in the order of reading.
        coords: int64 [n, 2], level-0 pixels.
    """

    tiling: str
    size: int
    mpp: float
    first: int
    coords: NDArray[np.int64]

    @property
    def nbytes(self) -> int:
        """Bytes of its pixels."""
        return len(self.coords) * self.size * self.size * 3


def slot_bytes(sizes: Sequence[int]) -> int:
    """Bytes that hold the pixels of any read of tilings with these tile edges."""
    return sum(max(SLOT_BYTES, size * size * 3) for size in sizes)


def plan_reads(tilings: Sequence[Tiling], done: Mapping[str, int], capacity: int) -> Iterator[list[Part]]:
    """Reads of a slide in their order; tilings read from the same level share them.

    Args:
        tilings: Tilings of the slide.
        done: Positions in the order of reading that need not be read again, by tiling.
        capacity: Largest number of bytes of pixels in a read, see `slot_bytes`.

    Yields:
        The parts of one read, one per tiling that has tiles in its region.
    """
    for level in sorted({tiling.level for tiling in tilings}):
        here = [tiling for tiling in tilings if tiling.level == level]
        places = [tiling.regions() for tiling in here]
        for region in sorted(set().union(*places)):
            parts = []
            for tiling, place in zip(here, places, strict=True):
                first, last = place.get(region, (0, 0))
                first = max(first, done.get(tiling.name, 0))
                if first < last:
                    parts.append(_part(tiling, first, last))
            if parts:
                yield from _split(parts, capacity)


def _part(tiling: Tiling, first: int, last: int) -> Part:
    coords = tiling.coords[tiling.order[first:last]]
    return Part(tiling.name, tiling.size, tiling.mpp, first, coords)


def _split(parts: list[Part], capacity: int) -> Iterator[list[Part]]:
    """The parts in one read, or in as many as keep each small enough."""
    bytes_needed, tiles = sum(part.nbytes for part in parts), sum(len(part.coords) for part in parts)
    pieces = max(1, -(-bytes_needed // capacity), -(-tiles // _MAX_TILES))
    while True:
        cut = [[_piece(part, k, pieces) for part in parts] for k in range(pieces)]
        if all(_fits(read, capacity) for read in cut):
            break
        pieces += 1
    for read in cut:
        kept = [part for part in read if len(part.coords)]
        if kept:
            yield kept


def _fits(read: list[Part], capacity: int) -> bool:
    return sum(p.nbytes for p in read) <= capacity and sum(len(p.coords) for p in read) <= _MAX_TILES


def _piece(part: Part, number: int, pieces: int) -> Part:
    edges = len(part.coords) * number // pieces, len(part.coords) * (number + 1) // pieces
    return Part(part.tiling, part.size, part.mpp, part.first + edges[0], part.coords[edges[0] : edges[1]])
