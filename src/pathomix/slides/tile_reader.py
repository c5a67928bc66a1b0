"""Pixels of many tiles with few reads: neighbouring tiles are cut from one region where that gives the same pixels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pathomix.core.errors import PathomixError
from pathomix.slides.reader import LevelChoice, Slide, choose_level, resample

_REGION_PIXELS = 2048
_MIN_COVER = 0.5
_INTEGER = 1e-9

Pixels = NDArray[np.uint8]


class TileReader:
    """Reads tiles of one slide at the target scale.

    Args:
        slide: Open slide.
        size: Tile edge in pixels at `mpp`.
        mpp: Target µm per pixel.
    """

    def __init__(self, slide: Slide, size: int, mpp: float) -> None:
        self.slide = slide
        self.size = size
        self.downsample = mpp / slide.scale.x, mpp / slide.scale.y
        self.choice: LevelChoice = choose_level(slide.level_downsamples, min(self.downsample), slide.path.name)
        self.read_size = (size, size)
        if self.choice.resize:
            width, height = (max(1, round(size * d / self.choice.downsample)) for d in self.downsample)
            self.read_size = (width, height)

    def tile(self, x: int, y: int) -> Pixels:
        """One tile, uint8 [size, size, 3]; (x, y) level-0 pixels.

        Raises:
            PathomixError: The region cannot be read.
        """
        pixels = self.slide.read(int(x), int(y), self.choice.level, *self.read_size)
        return resample(pixels, (self.size, self.size))

    def tiles(self, coords: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], Pixels, NDArray[np.int64]]]:
        """All tiles, region by region.

        Args:
            coords: int64 [tiles, 2], level-0 pixels.

        Yields:
            Positions in `coords` that were read, their pixels uint8 [n, size, size, 3], positions that cannot be read.
        """
        for group in self._regions(coords):
            pixels = self._from_region(coords[group])
            yield (group, pixels, group[:0]) if pixels is not None else self._one_by_one(coords, group)

    def _regions(self, coords: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        side = _REGION_PIXELS * self.choice.downsample
        cells = np.floor(coords / side).astype(np.int64)
        _, inverse = np.unique(cells[:, ::-1], axis=0, return_inverse=True)
        inverse = inverse.reshape(-1)
        order = np.argsort(inverse, kind="stable")
        return np.split(order, np.flatnonzero(np.diff(inverse[order])) + 1) if len(order) else []

    def _from_region(self, coords: NDArray[np.int64]) -> Pixels | None:
        """Tiles cut from one read; None where that would not give the same pixels, wastes reads, or fails."""
        offsets = (coords - coords.min(axis=0)) / self.choice.downsample
        corner = coords.min(axis=0) / self.choice.downsample
        integer = [np.abs(values - np.rint(values)).max() < _INTEGER for values in (offsets, corner)]
        if not all(integer):  # OpenSlide interpolates between pixels of a coarse level: only whole steps may be shared
            return None
        starts = np.rint(offsets).astype(np.int64)
        width, height = (int(side) for side in starts.max(axis=0) + self.read_size)
        if len(coords) * self.read_size[0] * self.read_size[1] < _MIN_COVER * width * height:
            return None
        x, y = (int(value) for value in coords.min(axis=0))
        try:
            region = self.slide.read(x, y, self.choice.level, width, height)
        except PathomixError:  # one bad native tile must not cost its neighbours
            return None
        columns, rows = self.read_size
        return np.stack(
            [resample(region[top : top + rows, left : left + columns], (self.size, self.size)) for left, top in starts]
        )

    def _one_by_one(
        self, coords: NDArray[np.int64], group: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], Pixels, NDArray[np.int64]]:
        good, bad, pixels = [], [], []
        for position in group:
            try:
                pixels.append(self.tile(*coords[position]))
                good.append(position)
            except PathomixError:
                bad.append(position)
        stack = np.stack(pixels) if pixels else np.zeros((0, self.size, self.size, 3), dtype=np.uint8)
        return np.array(good, dtype=np.int64), stack, np.array(bad, dtype=np.int64)
