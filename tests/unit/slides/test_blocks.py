"""Blocks lie exactly on the thumbnail's grid."""

from __future__ import annotations

import numpy as np
import pytest

from pathomix.slides import blocks as module
from pathomix.slides.blocks import blocks
from pathomix.slides.reader import open_slide, resample


@pytest.mark.parametrize("name", ["fine", "fine_one_level", "coarse", "coarse_one_level"])
@pytest.mark.parametrize("margin", [0, 2])
def test_reduced_blocks_are_the_thumbnail(zoo, monkeypatch, name, margin):
    monkeypatch.setattr(module, "_BLOCK_PIXELS", 160)
    with open_slide(zoo / f"{name}.tiff") as slide:
        thumbnail = slide.thumbnail(4.0)
        height, width = thumbnail.rgb.shape[:2]
        joined = np.zeros_like(thumbnail.rgb)
        seen = np.zeros((height, width), dtype=int)
        for block in blocks(slide, thumbnail, 4, margin, np.ones((height, width), dtype=bool)):
            rows, columns = block.rows.stop - block.rows.start, block.columns.stop - block.columns.start
            assert block.rgb.shape == (4 * (rows + 2 * margin), 4 * (columns + 2 * margin), 3)
            inside = slice(4 * margin, 4 * (margin + rows)), slice(4 * margin, 4 * (margin + columns))
            joined[block.rows, block.columns] = resample(block.rgb[inside], (columns, rows))
            seen[block.rows, block.columns] += 1
    assert (seen == 1).all()
    assert np.abs(joined.astype(int) - thumbnail.rgb).mean() < 1


def test_only_blocks_that_are_wanted_are_read_and_the_outside_is_background(zoo, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK_PIXELS", 128)
    with open_slide(zoo / "coarse.tiff") as slide:
        thumbnail = slide.thumbnail(4.0)
        where = np.zeros(thumbnail.rgb.shape[:2], dtype=bool)
        where[0, 0] = where[100, 40] = True
        found = list(blocks(slide, thumbnail, 4, 1, where))
    assert [(b.rows.start, b.columns.start) for b in found] == [(0, 0), (96, 32)]
    assert (found[0].rgb[:4] == 255).all() and (found[0].rgb[4:, 4:] != 255).any()
