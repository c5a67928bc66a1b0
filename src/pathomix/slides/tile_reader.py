"""Pixels of many tiles with few reads: neighbouring tiles, also those of several tilings, are cut from one region.

A region is only shared where that gives the pixels of tile-by-tile reading (spec slides_and_encoders 7.4, point 1).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pathomix.core.errors import PathomixError
from pathomix.slides.reader import LevelChoice, Slide, choose_level, resample

# A region is read where tiles cover this share of it; elsewhere it is halved first.
_MIN_COVER = 0.5
_INTEGER = 1e-9

Pixels = NDArray[np.uint8]


class TileReader:
    """Reads tiles of one slide at the target scale.

    Args:
        slide: Open slide.
        size: Tile edge in pixels at `mpp`.
        mpp: Target µm per pixel.

    Attributes:
        choice: Level that is read.
        read_size: Width and height of a tile in pixels of that level.
    """

    def __init__(self, slide: Slide, size: int, mpp: float) -> None:
        self.slide = slide
        self.size = size
        downsample = mpp / slide.scale.x, mpp / slide.scale.y
        self.choice: LevelChoice = choose_level(slide.level_downsamples, min(downsample), slide.path.name)
        self.read_size = (size, size)
        if self.choice.resize:
            width, height = (max(1, round(size * d / self.choice.downsample)) for d in downsample)
            self.read_size = (width, height)

    def tile(self, x: int, y: int) -> Pixels:
        """One tile, uint8 [size, size, 3]; (x, y) level-0 pixels.

        Raises:
            PathomixError: The region cannot be read.
        """
        pixels = self.slide.read(int(x), int(y), self.choice.level, *self.read_size)
        return resample(pixels, (self.size, self.size))


def read_tiles(
    readers: Sequence[TileReader], corners: Sequence[NDArray[np.int64]], out: Sequence[Pixels]
) -> list[NDArray[np.bool_]]:
    """Tiles of one or several tilings of a slide, with as few reads as give the same pixels as single ones.

    Args:
        readers: One per tiling, all on the same slide.
        corners: Per tiling int64 [n, 2], level-0 pixels of tiles that lie close together.
        out: Per tiling uint8 [n, size, size, 3], filled here; a tile that cannot be read becomes 0.

    Returns:
        Per tiling bool [n]: whether the tile could be read.
    """
    good = [np.zeros(len(part), dtype=bool) for part in corners]
    for level in sorted({reader.choice.level for reader in readers}):
        numbers = [k for k, reader in enumerate(readers) if reader.choice.level == level and len(corners[k])]
        if numbers:
            _LevelRead(readers, corners, out, good, numbers).run()
    return good


class _LevelRead:
    """The tiles of one level, as flat arrays over all tilings."""

    def __init__(
        self,
        readers: Sequence[TileReader],
        corners: Sequence[NDArray[np.int64]],
        out: Sequence[Pixels],
        good: Sequence[NDArray[np.bool_]],
        numbers: Sequence[int],
    ) -> None:
        self._readers, self._out, self._good = readers, out, good
        self._slide, self._choice = readers[numbers[0]].slide, readers[numbers[0]].choice
        self._tiling = np.repeat(numbers, [len(corners[k]) for k in numbers])
        self._place = np.concatenate([np.arange(len(corners[k])) for k in numbers])
        self._corner = np.concatenate([corners[k] for k in numbers]).astype(np.int64)
        self._extent = np.array([readers[k].read_size for k in range(len(readers))])[self._tiling]

    def run(self) -> None:
        # OpenSlide interpolates between pixels of a coarse level: only tiles at whole pixels may share a region
        at = self._corner / self._choice.downsample
        whole = (np.abs(at - np.rint(at)) < _INTEGER).all(axis=1)
        for member in np.flatnonzero(~whole):
            self._alone(int(member))
        if whole.any():
            self._together(np.flatnonzero(whole))

    def _together(self, members: NDArray[np.intp]) -> None:
        if len(members) == 1:
            self._alone(int(members[0]))
            return
        corner = self._corner[members]
        starts = np.rint((corner - corner.min(axis=0)) / self._choice.downsample).astype(np.int64)
        extent = self._extent[members]
        width, height = (int(side) for side in (starts + extent).max(axis=0))
        if extent.prod(axis=1).sum() < _MIN_COVER * width * height:
            span = starts.max(axis=0)
            axis = int(span.argmax())
            first = starts[:, axis] * 2 < span[axis]
            self._together(members[first])
            self._together(members[~first])
            return
        x, y = (int(value) for value in corner.min(axis=0))
        try:
            region = self._slide.read(x, y, self._choice.level, width, height)
        except PathomixError:  # one bad native tile must not cost its neighbours
            for member in members:
                self._alone(int(member))
            return
        for member, (left, top), (columns, rows) in zip(members, starts.tolist(), extent.tolist(), strict=True):
            self._keep(int(member), region[top : top + rows, left : left + columns])

    def _alone(self, member: int) -> None:
        x, y = self._corner[member].tolist()
        columns, rows = self._extent[member].tolist()
        try:
            self._keep(member, self._slide.read(x, y, self._choice.level, columns, rows))
        except PathomixError:
            self._out[self._tiling[member]][self._place[member]] = 0

    def _keep(self, member: int, pixels: Pixels) -> None:
        tiling, place = self._tiling[member], self._place[member]
        size = self._readers[tiling].size
        self._out[tiling][place] = resample(pixels, (size, size))
        self._good[tiling][place] = True
