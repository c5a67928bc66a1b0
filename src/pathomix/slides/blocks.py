"""Finer pixels under a thumbnail: blocks that lie exactly on its grid, read with a margin and bounded memory."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pathomix.core.errors import PathomixError
from pathomix.slides.reader import Slide, Thumbnail, resample

log = logging.getLogger(__name__)

_BLOCK_PIXELS = 1024


@dataclass(frozen=True)
class Block:
    """A block of `factor` x `factor` pixels per thumbnail pixel.

    Attributes:
        rows: Rows of the thumbnail it covers.
        columns: Columns of the thumbnail it covers.
        rgb: uint8 [(rows + 2 margin) * factor, (columns + 2 margin) * factor, 3]; None where the file is damaged.
    """

    rows: slice
    columns: slice
    rgb: NDArray[np.uint8] | None


def blocks(slide: Slide, thumbnail: Thumbnail, factor: int, margin: int, where: NDArray[np.bool_]) -> Iterator[Block]:
    """Blocks that hold any pixel of `where`, in raster order.

    Args:
        slide: The slide.
        thumbnail: Its thumbnail: the grid.
        factor: Pixels per thumbnail pixel, along each axis.
        margin: Thumbnail pixels of surroundings on each side of a block; outside the canvas is background.
        where: bool [h, w] on the thumbnail.
    """
    side = max(1, _BLOCK_PIXELS // factor)
    height, width = where.shape
    for top in range(0, height, side):
        for left in range(0, width, side):
            rows, columns = slice(top, min(top + side, height)), slice(left, min(left + side, width))
            if where[rows, columns].any():
                yield Block(rows, columns, _read(slide, thumbnail, factor, margin, rows, columns))


def _read(
    slide: Slide, thumbnail: Thumbnail, factor: int, margin: int, rows: slice, columns: slice
) -> NDArray[np.uint8] | None:
    wanted = min(thumbnail.step) / factor
    level = max((i for i, d in enumerate(slide.level_downsamples) if d <= wanted * 1.01), default=0)
    downsample = slide.level_downsamples[level]
    count = columns.stop - columns.start + 2 * margin, rows.stop - rows.start + 2 * margin
    corner = columns.start - margin, rows.start - margin
    x, y = (round(thumbnail.origin[axis] + corner[axis] * thumbnail.step[axis]) for axis in (0, 1))
    width, height = (max(1, round(count[axis] * thumbnail.step[axis] / downsample)) for axis in (0, 1))
    try:
        pixels = slide.read(x, y, level, width, height)
    except PathomixError as error:
        log.warning("%s", error)
        return None
    return resample(pixels, (count[0] * factor, count[1] * factor))
