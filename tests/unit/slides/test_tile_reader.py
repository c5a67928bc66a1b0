"""Region reading gives the pixels of tile-wise reading, and one bad native tile costs only what touches it."""

from __future__ import annotations

import numpy as np
import pytest

from pathomix.core.errors import PathomixError
from pathomix.slides.reader import open_slide
from pathomix.slides.tile_reader import TileReader
from pathomix.slides.tiles import Grid, TileParameters


def grid_coords(slide, parameters):
    grid = Grid.of(slide.scale, slide.dimensions, parameters)
    y, x = np.meshgrid(grid.starts(1), grid.starts(0), indexing="ij")
    return np.column_stack([x.ravel(), y.ravel()])


def assembled(reader, coords):
    result = np.zeros((len(coords), reader.size, reader.size, 3), dtype=np.uint8)
    for positions, pixels, bad in reader.tiles(coords):
        assert not len(bad)
        result[positions] = pixels
    return result


@pytest.mark.parametrize("name", ["fine.tiff", "fine_one_level.tiff", "coarse.tiff"])
@pytest.mark.parametrize(("mpp", "size", "overlap"), [(1.0, 64, 0), (2.0, 32, 8), (1.3, 48, 0), (0.5, 100, 0)])
def test_regions_equal_tiles(zoo, name, mpp, size, overlap, monkeypatch):
    monkeypatch.setattr("pathomix.slides.tile_reader._REGION_PIXELS", 300)  # several regions
    with open_slide(zoo / name) as slide:
        reader = TileReader(slide, size, mpp)
        coords = grid_coords(slide, TileParameters(size=size, mpp=mpp, overlap=overlap))
        np.testing.assert_array_equal(assembled(reader, coords), np.stack([reader.tile(*c) for c in coords]))
        scattered = coords[np.random.default_rng(0).permutation(len(coords))[:7]]
        np.testing.assert_array_equal(assembled(reader, scattered), np.stack([reader.tile(*c) for c in scattered]))


def test_pixels_are_the_area_mean_of_level_0(zoo, image, kit):
    with open_slide(zoo / "coarse_one_level.tiff") as slide:
        tile = TileReader(slide, 64, 1.0).tile(256, 384)
    expected = kit.halved(kit.halved(image[0]))[192:256, 128:192]
    np.testing.assert_array_equal(tile, expected)


def test_neighbouring_tiles_share_one_read(zoo, monkeypatch):
    with open_slide(zoo / "coarse.tiff") as slide:
        reader = TileReader(slide, 64, 1.0)
        coords = grid_coords(slide, TileParameters(size=64, mpp=1.0))
        reads = []
        original = slide.read
        monkeypatch.setattr(slide, "read", lambda *a: reads.append(a) or original(*a))
        assembled(reader, coords)
    assert len(coords) == 64 and len(reads) == 1


def test_one_damaged_native_tile_costs_only_the_tiles_on_it(zoo):
    with open_slide(zoo / "coarse.tiff") as good, open_slide(zoo / "damaged.tiff") as slide:
        coords = grid_coords(slide, TileParameters(size=128, mpp=0.5))
        expected = assembled(TileReader(good, 128, 0.5), coords)
        lost = []
        for positions, pixels, bad in TileReader(slide, 128, 0.5).tiles(coords):
            np.testing.assert_array_equal(pixels, expected[positions])
            lost += [tuple(c) for c in coords[bad].tolist()]
    assert sorted(lost) == [(256, 256), (256, 384), (384, 256), (384, 384)]


def test_a_slide_coarser_than_wanted_is_refused(zoo):
    with open_slide(zoo / "coarse.tiff") as slide, pytest.raises(PathomixError, match=r"coarse\.tiff.*coarser"):
        TileReader(slide, 64, 0.25)
