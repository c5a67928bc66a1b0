"""Region reading gives the pixels of tile-wise reading, and one bad native tile costs only what touches it."""

from __future__ import annotations

import numpy as np
import pytest

from pathomix.core.errors import PathomixError
from pathomix.slides.reader import open_slide
from pathomix.slides.tile_reader import TileReader, read_tiles
from pathomix.slides.tiles import Grid, TileParameters


def grid_coords(slide, parameters):
    grid = Grid.of(slide.scale, slide.dimensions, parameters)
    y, x = np.meshgrid(grid.starts(1), grid.starts(0), indexing="ij")
    return np.column_stack([x.ravel(), y.ravel()])


def together(readers, corners):
    """Pixels and good tiles of `read_tiles`, into memory that was used before."""
    out = [np.full((len(c), r.size, r.size, 3), 77, np.uint8) for r, c in zip(readers, corners, strict=True)]
    return out, read_tiles(readers, corners, out)


def reads_of(slide, monkeypatch):
    """List that fills with the arguments of each read."""
    reads = []
    original = slide.read
    monkeypatch.setattr(slide, "read", lambda *a: reads.append(a) or original(*a))
    return reads


@pytest.mark.parametrize("name", ["fine.tiff", "fine_one_level.tiff", "coarse.tiff"])
@pytest.mark.parametrize(("mpp", "size", "overlap"), [(1.0, 64, 0), (2.0, 32, 8), (1.3, 48, 0), (0.5, 100, 0)])
def test_regions_equal_tiles(zoo, name, mpp, size, overlap):
    with open_slide(zoo / name) as slide:
        reader = TileReader(slide, size, mpp)
        coords = grid_coords(slide, TileParameters(size=size, mpp=mpp, overlap=overlap))
        scattered = coords[np.random.default_rng(0).permutation(len(coords))[:7]]
        for corners in (coords, scattered, coords[:1], coords[:0]):
            (pixels,), (good,) = together([reader], [corners])
            assert good.all() and good.shape == (len(corners),)
            np.testing.assert_array_equal(pixels, np.array([reader.tile(*c) for c in corners]).reshape(pixels.shape))


@pytest.mark.parametrize("name", ["fine.tiff", "fine_one_level.tiff"])
def test_tilings_read_together_equal_tiles(zoo, name, monkeypatch):
    tilings = (64, 1.0), (128, 1.0), (48, 0.7), (32, 1.9)
    with open_slide(zoo / name) as slide:
        readers = [TileReader(slide, size, mpp) for size, mpp in tilings]
        corners = [grid_coords(slide, TileParameters(size=size, mpp=mpp)) for size, mpp in tilings]
        reads = reads_of(slide, monkeypatch)
        pixels, good = together(readers, corners)
        # at a coarse level OpenSlide interpolates tiles that lie between its pixels: those are read alone
        assert len(reads) == 1 if name == "fine_one_level.tiff" else 1 < len(reads) < sum(map(len, corners))
        for reader, part, found, read in zip(readers, corners, pixels, good, strict=True):
            assert read.all()
            np.testing.assert_array_equal(found, np.stack([reader.tile(*c) for c in part]))


def test_pixels_are_the_area_mean_of_level_0(zoo, image, kit):
    with open_slide(zoo / "coarse_one_level.tiff") as slide:
        tile = TileReader(slide, 64, 1.0).tile(256, 384)
    expected = kit.halved(kit.halved(image[0]))[192:256, 128:192]
    np.testing.assert_array_equal(tile, expected)


def test_neighbouring_tiles_share_one_read(zoo, monkeypatch):
    with open_slide(zoo / "coarse.tiff") as slide:
        reader = TileReader(slide, 64, 1.0)
        coords = grid_coords(slide, TileParameters(size=64, mpp=1.0))
        reads = reads_of(slide, monkeypatch)
        together([reader], [coords])
    assert len(coords) == 64 and len(reads) == 1


def test_empty_area_is_not_read(zoo, monkeypatch):
    """Two clumps in opposite corners are two reads, not one of everything."""
    with open_slide(zoo / "coarse.tiff") as slide:
        reader = TileReader(slide, 64, 0.5)
        coords = grid_coords(slide, TileParameters(size=64, mpp=0.5))
        near = coords[(coords < 192).all(axis=1)]
        far = coords[(coords >= 832).all(axis=1)]
        reads = reads_of(slide, monkeypatch)
        together([reader], [np.concatenate([near, far])])
    assert len(near) == 9 and sorted(read[3] * read[4] for read in reads) == [192 * 192, 192 * 192]


def test_one_damaged_native_tile_costs_only_the_tiles_on_it(zoo):
    with open_slide(zoo / "coarse.tiff") as good, open_slide(zoo / "damaged.tiff") as slide:
        tilings = (128, 0.5), (300, 0.5)
        corners = [grid_coords(slide, TileParameters(size=size, mpp=mpp)) for size, mpp in tilings]
        expected, _ = together([TileReader(good, *tiling) for tiling in tilings], corners)
        found, readable = together([TileReader(slide, *tiling) for tiling in tilings], corners)
    for pixels, whole, fine in zip(found, expected, readable, strict=True):
        np.testing.assert_array_equal(pixels[fine], whole[fine])
        assert not pixels[~fine].any()
    lost = [sorted(map(tuple, part[~fine].tolist())) for part, fine in zip(corners, readable, strict=True)]
    assert lost == [[(256, 256), (256, 384), (384, 256), (384, 384)], [(0, 0), (0, 300), (300, 0), (300, 300)]]


def test_a_slide_coarser_than_wanted_is_refused(zoo):
    with open_slide(zoo / "coarse.tiff") as slide, pytest.raises(PathomixError, match=r"coarse\.tiff.*coarser"):
        TileReader(slide, 64, 0.25)
