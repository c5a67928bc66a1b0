"""Tiles: one global grid anchored at the canvas origin, exact in level-0 pixels for any base scale (spec 1.4, 2.2)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from pathomix.core.errors import PathomixError
from pathomix.slides.scale import Scale
from pathomix.slides.tilings import tiling_name

_AREA_TOLERANCE = 1e-9
FLAG_PADDED = 2


@dataclass(frozen=True)
class SelectionParameters:
    """What the configuration says of tiles (``slides.tiles``); their size and scale belong to the encoder.

    Attributes:
        overlap: Pixels at the encoder's scale that neighbours share.
        min_tissue: Smallest share of a tile's area that is tissue.
    """

    overlap: int = 0
    min_tissue: float = 0.25


@dataclass(frozen=True)
class TileParameters:
    """One tiling: what the encoder wants and what the configuration says.

    Attributes:
        size: Tile edge in pixels at `mpp`.
        mpp: µm per pixel the encoder sees.
        overlap: Pixels at `mpp` that neighbours share.
        min_tissue: Smallest share of a tile's area that is tissue.
    """

    size: int = 256
    mpp: float = 0.5
    overlap: int = 0
    min_tissue: float = 0.25

    @property
    def name(self) -> str:
        """Name of the tiling (`tiling_name`)."""
        return tiling_name(self.size, self.mpp)

    def checked(self) -> TileParameters:
        """Itself.

        Raises:
            PathomixError: A value that cannot tile anything.
        """
        wrong = []
        if self.size < 1 or self.mpp <= 0:
            wrong.append("size and mpp must be positive")
        if not 0 <= self.overlap < self.size:
            wrong.append("overlap must be at least 0 and below size")
        if not 0 < self.min_tissue <= 1:
            wrong.append("min_tissue must be above 0 and at most 1")
        if wrong:
            remedy = "correct slides.tiles, or tile_size and mpp of the encoder"
            raise PathomixError(f"slides.tiles of {self.name}: {'; '.join(wrong)}", remedy=remedy)
        return self


@dataclass(frozen=True)
class Grid:
    """The global grid of a slide.

    Attributes:
        downsample: Level-0 pixels per target pixel along x and y.
        footprint: Tile edge in level-0 pixels along x and y, rounded.
        step: Distance of neighbouring tiles in target pixels.
        canvas: Width and height in level-0 pixels.
    """

    downsample: tuple[float, float]
    footprint: tuple[int, int]
    step: int
    canvas: tuple[int, int]

    @property
    def pitch(self) -> tuple[float, float]:
        """Distance of neighbouring tiles in level-0 pixels, not rounded."""
        return self.step * self.downsample[0], self.step * self.downsample[1]

    @classmethod
    def of(cls, scale: Scale, canvas: tuple[int, int], parameters: TileParameters) -> Grid:
        """Grid of a slide under the given parameters.

        Raises:
            PathomixError: A tile would be smaller than one pixel of the slide.
        """
        downsample = parameters.mpp / scale.x, parameters.mpp / scale.y
        footprint = round(parameters.size * downsample[0]), round(parameters.size * downsample[1])
        grid = cls(downsample, footprint, parameters.size - parameters.overlap, canvas)
        if min(*footprint, *grid.pitch) < 1:
            raise PathomixError(
                f"a tile of {parameters.name} is smaller than one pixel of the slide",
                remedy="use an encoder with larger tiles or a larger mpp, or less slides.tiles.overlap",
            )
        return grid

    def starts(self, axis: int, low: float = 0.0, high: float = math.inf) -> NDArray[np.int64]:
        """Left edges (axis 0) or top edges (axis 1) of the tiles that touch [low, high] and start on the canvas.

        Each is round(k * step * downsample): a rounded step would drift, and the integer k * step makes the grid of a
        tiling part of the grid of any tiling that it is a multiple of.
        """
        high = min(high, self.canvas[axis] - 1)
        first = max(0, math.floor((low - self.footprint[axis]) / self.pitch[axis]) - 1)
        last = max(first, math.ceil(high / self.pitch[axis]) + 1)
        edges = np.rint(np.arange(first, last + 1) * self.step * self.downsample[axis]).astype(np.int64)
        return edges[(edges + self.footprint[axis] > low) & (edges <= high)]


@dataclass(frozen=True)
class Tiles:
    """Selected tiles in row-major order.

    Attributes:
        coords: int64 [tiles, 2], level-0 pixel (x, y) of the upper left corner.
        tissue_fraction: float32 [tiles], share of the tile's area that is tissue.
        flags: uint8 [tiles], bit `FLAG_PADDED`: the tile reaches over the canvas and is padded with background.
    """

    coords: NDArray[np.int64]
    tissue_fraction: NDArray[np.float32]
    flags: NDArray[np.uint8]


def select_tiles(tissue: BaseGeometry, grid: Grid, min_tissue: float) -> Tiles:
    """Grid tiles with enough tissue, by exact polygon areas.

    Args:
        tissue: Valid tissue geometry in level-0 pixels.
        grid: The slide's grid.
        min_tissue: Smallest share of a tile's area that is tissue.
    """
    width, height = grid.footprint
    low_x, low_y, high_x, high_y = tissue.bounds
    coords, fractions = [], []
    shapely.prepare(tissue)
    for y in grid.starts(1, low_y, high_y):
        # cutting the row first keeps the cost of a tile independent of how long the whole outline is
        row = shapely.intersection(tissue, shapely.box(low_x, y, high_x, y + height))
        if row.is_empty:
            continue
        x = grid.starts(0, row.bounds[0], row.bounds[2])
        boxes = shapely.box(x, y, x + width, y + height)
        fraction = shapely.area(shapely.intersection(row, boxes)) / (width * height)
        keep = fraction >= min_tissue - _AREA_TOLERANCE
        coords.append(np.column_stack([x[keep], np.full(keep.sum(), y)]))
        fractions.append(fraction[keep])
    corners = np.concatenate(coords) if coords else np.zeros((0, 2), dtype=np.int64)
    share = np.concatenate(fractions) if fractions else np.zeros(0)
    return _tiles(corners.reshape(-1, 2), share, grid)


def given_tiles(tissue: BaseGeometry, grid: Grid, corners: NDArray[np.int64]) -> Tiles:
    """Tiles at given corners, in row-major order, whatever tissue they hold.

    Args:
        tissue: Valid tissue geometry in level-0 pixels: gives the share of tissue, selects nothing.
        grid: The slide's grid: gives the footprint.
        corners: int64 [tiles, 2], level-0 pixel (x, y) of the upper left corner.
    """
    corners = corners[np.lexsort((corners[:, 0], corners[:, 1]))]
    width, height = grid.footprint
    share = np.zeros(len(corners))
    for y in np.unique(corners[:, 1]):
        mine = corners[:, 1] == y
        x = corners[mine, 0]
        row = shapely.intersection(tissue, shapely.box(x.min(), y, x.max() + width, y + height))
        share[mine] = shapely.area(shapely.intersection(row, shapely.box(x, y, x + width, y + height)))
    return _tiles(corners, share / (width * height), grid)


def _tiles(corners: NDArray[np.int64], share: NDArray[np.float64], grid: Grid) -> Tiles:
    padded = (corners + np.array(grid.footprint) > np.array(grid.canvas)).any(axis=1)
    return Tiles(
        corners.astype(np.int64),
        np.minimum(share, 1.0).astype(np.float32),
        np.where(padded, FLAG_PADDED, 0).astype(np.uint8),
    )
