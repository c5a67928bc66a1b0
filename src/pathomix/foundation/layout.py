"""From the tiles of a patient to the one sequence of tiles a slide encoder reads.

Slide encoders know one slide; a patient has several, at different scales, sometimes with more tiles than fit into
memory. Here they become one case: one frame of coordinates, slides side by side, a subset of the tiles, one order.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pathomix.core.bags import Bag
from pathomix.core.errors import PathomixError
from pathomix.core.parameters import choice

log = logging.getLogger(__name__)

# Spec modaltune 9.2 #3: distance between two slides of a case, in units of the coordinates.
_GAP = 1500
# Corners are rounded to whole pixels, by at most half a pixel; with less than a whole one added, tiles of whole-pixel
# edges stay where the plain division puts them.
_CORNER = 0.75


@dataclass(frozen=True)
class Layout:
    """How a bag becomes a case; every field is a switch of the fidelity profiles.

    The released code is ``level0_raw``, ``released``, ``redrawn``, ``summed``.

    Attributes:
        coord_frame: ``target_mpp``: cells are tile edges of each slide, so that tissue has the same place however it
            was scanned. ``level0_raw``: level-0 pixels as they are (spec slides_and_encoders 4.4).
        slide_layout: ``disjoint``: slides below each other, or in columns where the position grid ends, so that they
            never meet; tiles of a slide row by row. ``released``: tiles in the order given; the second coordinate of
            a slide is shifted by the previous slide's own maximum + 1500, so that later slides may overlap, and wraps
            where it leaves the position grid (spec modaltune 9.2 #3, #5).
        subset: Tiles of a bag larger than `max_tiles`: ``fixed``: the same for a case on every machine and at every
            call; ``redrawn``: others at every draw (#15).
        same_cell: Tiles that share a cell of an encoder with a distance bias: ``separate`` tokens, or ``summed`` into
            one, cells of zeros being dropped (#3, #4).
        max_tiles: Largest number of tiles of a case.
    """

    coord_frame: str = "target_mpp"
    slide_layout: str = "disjoint"
    subset: str = "fixed"
    same_cell: str = "separate"
    max_tiles: int = 25_000

    def __post_init__(self) -> None:
        choice(self.coord_frame, ("target_mpp", "level0_raw"), "coord_frame")
        choice(self.slide_layout, ("disjoint", "released"), "slide_layout")
        choice(self.subset, ("fixed", "redrawn"), "subset")
        choice(self.same_cell, ("separate", "summed"), "same_cell")
        if self.max_tiles < 1:
            raise PathomixError(f"max_tiles is {self.max_tiles}", remedy="set it to at least 1")


class Arranged(NamedTuple):
    """A case as a slide encoder reads it.

    Attributes:
        features: float32 [L, in_dim].
        coords: int64 [L, 2] in the frame of the encoder.
        tiles: int64 [T], rows of the bag that went in.
        tokens: int64 [T], row of `features` that each of these tiles is in (its own, except for summed tiles); -1 for
            a tile that was dropped as background.
    """

    features: NDArray[np.float32]
    coords: NDArray[np.int64]
    tiles: NDArray[np.int64]
    tokens: NDArray[np.int64]


def arrange(
    bag: Bag, case_id: str, layout: Layout, *, in_dim: int, tile: int, grid: int | None, draw: int | None = None
) -> Arranged:
    """Lay out one case.

    Slides follow each other. The order of tiles is part of the model, because dilated attention reads contiguous
    stretches (spec slides_and_encoders 4.6).

    Args:
        bag: Tiles of the patient.
        case_id: Patient; named in errors, and seed of the subset.
        layout: Switches; `same_cell` is the encoder's business.
        in_dim: Feature width the encoder needs.
        tile: Edge of a position cell in units of the coordinates.
        grid: Position cells per axis; None = no limit.
        draw: Number of the draw, for ``redrawn``: another one gives another subset.

    Raises:
        PathomixError: No tile, features of another width, or slides that do not fit into the position grid.
    """
    _check(bag, case_id, in_dim)
    coords = in_frame(bag, tile) if layout.coord_frame == "target_mpp" else bag.coords.astype(np.int64)
    rows = subset(len(coords), layout.max_tiles, case_id, _draw(layout, draw))
    if layout.slide_layout == "released":
        coords = wrapped(as_released(coords, bag.slide), case_id, tile, grid)
    else:
        coords = disjoint(coords, bag.slide, case_id, tile, grid)
        rows = rows[np.lexsort((coords[rows, 0], coords[rows, 1], bag.slide[rows]))]
    features = np.ascontiguousarray(bag.features[rows], dtype=np.float32)
    return Arranged(features, coords[rows], rows, np.arange(len(rows)))


def in_frame(bag: Bag, tile: int) -> NDArray[np.int64]:
    """Coordinates [tiles, 2] in which every slide's tiles are `tile` apart: the corner of the cell a tile is in."""
    edge = bag.tile_edge.astype(np.float64)[bag.slide]
    return np.floor((bag.coords + _CORNER) / edge).astype(np.int64) * tile


def as_released(coords: NDArray[np.int64], slide: NDArray[np.int32]) -> NDArray[np.int64]:
    """Slides joined as ModalTune's code does: shifted along y by the previous slide's own maximum + 1500."""
    shifted, offset = coords.copy(), 0
    for number in np.unique(slide):
        own = slide == number
        shifted[own, 1] += offset
        offset = int(coords[own, 1].max()) + _GAP
    return shifted


def wrapped(coords: NDArray[np.int64], case_id: str, tile: int, grid: int | None) -> NDArray[np.int64]:
    """Rows beyond the grid moved to where the released position index (first cell * grid + second cell) puts them."""
    if grid is None or int(coords[:, 1].max()) < grid * tile:
        return coords
    log.warning("%s: tiles beyond %d rows of the position grid wrap into the next column (released)", case_id, grid)
    column, y = np.divmod(coords[:, 1], grid * tile)
    return np.column_stack([coords[:, 0] + column * tile, y])


def disjoint(
    coords: NDArray[np.int64], slide: NDArray[np.int32], case_id: str, tile: int, grid: int | None
) -> NDArray[np.int64]:
    """Slides moved by whole cells so that no cell has tiles of two of them.

    A single slide inside the grid stays where it is. Otherwise each slide goes below the previous ones; where that
    leaves the grid, slides are packed into columns from the origin.

    Raises:
        PathomixError: The slides do not fit into the grid even so.
    """
    cells = np.floor_divide(coords, tile)
    numbers = np.unique(slide)
    low = np.array([cells[slide == number].min(axis=0) for number in numbers])
    high = np.array([cells[slide == number].max(axis=0) for number in numbers])
    gap = -(-_GAP // tile)
    offsets = _stacked(low, high, gap)
    if grid is not None and not _inside(low + offsets, high + offsets, grid):
        for distance in (gap, 0):
            offsets = _columns(high - low + 1, distance, grid) - low
            if _inside(low + offsets, high + offsets, grid):
                break
        else:
            raise PathomixError(
                f"{case_id}: its slides, {_sizes(low, high)} cells, do not fit into {grid} x {grid} position cells",
                offending=[case_id],
                remedy="set `coord_frame: target_mpp`, enlarge `tile` of the slide encoder, or leave slides out",
            )
    return coords + offsets[np.searchsorted(numbers, slide)] * tile


def subset(tiles: int, most: int, case_id: str, draw: int | None) -> NDArray[np.int64]:
    """At most `most` of the rows 0..tiles-1, ascending; which ones follows from the names alone.

    NumPy keeps the raw stream of PCG64 the same over versions and machines, unlike its sampling functions.
    """
    if tiles <= most:
        return np.arange(tiles)
    name = case_id if draw is None else f"{case_id}/{draw}"
    stream = np.random.PCG64(int(hashlib.sha256(name.encode()).hexdigest()[:32], 16))
    return np.sort(np.argsort(stream.random_raw(tiles), kind="stable")[:most])


def _draw(layout: Layout, draw: int | None) -> int | None:
    if layout.subset == "fixed":
        return None
    if draw is None:
        raise ValueError("subset `redrawn` needs the number of the draw")
    return draw


def _check(bag: Bag, case_id: str, in_dim: int) -> None:
    if bag.features.shape[1] != in_dim:
        raise PathomixError(
            f"{case_id}: tile features of width {bag.features.shape[1]}, the slide encoder needs {in_dim}",
            offending=[case_id],
            remedy="pair the slide encoder with the tile encoder it was made for (key `encoder` of the representation)",
        )
    if not len(bag.features):
        raise PathomixError(f"{case_id}: no tile", offending=[case_id], remedy="leave the case out")
    edges = bag.tile_edge[np.unique(bag.slide)]
    if not (np.isfinite(edges) & (edges > 0)).all():
        raise PathomixError(
            f"{case_id}: tile edge {edges.tolist()}", offending=[case_id], remedy="run cut_tiles again for its slides"
        )


def _stacked(low: NDArray[np.int64], high: NDArray[np.int64], gap: int) -> NDArray[np.int64]:
    """Offsets [slides, 2] that put each slide below the previous one, where none starts before the origin."""
    offsets = np.maximum(0, -low)
    for number in range(1, len(low)):
        offsets[number, 1] = high[number - 1, 1] + offsets[number - 1, 1] + 1 + gap - low[number, 1]
    return offsets


def _columns(size: NDArray[np.int64], gap: int, grid: int) -> NDArray[np.int64]:
    """Places [slides, 2] of slides packed into columns, each as wide as its widest slide."""
    places = np.zeros_like(size)
    x = y = width = 0
    for number, (across, down) in enumerate(size.tolist()):
        if y and y + down > grid:
            x, y, width = x + width + gap, 0, 0
        places[number] = x, y
        y, width = y + down + gap, max(width, across)
    return places


def _inside(low: NDArray[np.int64], high: NDArray[np.int64], grid: int) -> bool:
    return bool((low >= 0).all() and (high < grid).all())


def _sizes(low: NDArray[np.int64], high: NDArray[np.int64]) -> str:
    return ", ".join(f"{across} x {down}" for across, down in (high - low + 1).tolist())
