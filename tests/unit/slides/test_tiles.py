"""The grid and the selection against brute force (spec 1.4, 2.2)."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import shapely
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pathomix.core.errors import PathomixError
from pathomix.slides.scale import Scale
from pathomix.slides.tiles import (
    FLAG_PADDED,
    Grid,
    SelectionParameters,
    TileParameters,
    given_tiles,
    select_tiles,
)
from pathomix.slides.tilings import tiling_name


def brute_starts(canvas, size, overlap, target, base):
    """round(k (P - o) d) for every tile that starts on the canvas, in exact arithmetic."""
    pitch = (size - overlap) * Fraction(target) / Fraction(base)
    result, k = [], 0
    while round(k * pitch) < canvas:
        result.append(round(k * pitch))
        k += 1
    return result


@settings(max_examples=150, deadline=None)
@given(
    canvas=st.integers(1, 5000),
    size=st.integers(16, 300),
    overlap=st.integers(0, 15),
    target=st.sampled_from([0.5, 1.0, 2.0]),
    base=st.sampled_from([0.25, 0.2521, 0.499, 0.1635, 0.5]),
)
def test_positions_do_not_drift(canvas, size, overlap, target, base):
    parameters = TileParameters(size=size, mpp=target, overlap=overlap)
    grid = Grid.of(Scale(base, base, "header"), (canvas, canvas), parameters)
    np.testing.assert_array_equal(grid.starts(0), brute_starts(canvas, size, overlap, target, base))
    assert grid.footprint == (round(size * Fraction(target) / Fraction(base)),) * 2


@settings(max_examples=200, deadline=None)
@given(
    canvas=st.integers(600, 200_000),
    base=st.floats(0.05, 5.0),
    size=st.sampled_from([128, 224, 256]),
    multiple=st.integers(2, 5),
    target=st.sampled_from([0.25, 0.5, 1.0]),
)
@example(canvas=9000, base=0.1536, size=224, multiple=3, target=0.5)  # half pixels, which rounding may tip either way
@example(canvas=40_000, base=0.2816, size=224, multiple=5, target=0.25)
def test_a_tiling_lies_on_the_grid_of_any_tiling_that_it_is_a_multiple_of(canvas, base, size, multiple, target):
    scale, side = Scale(base, base, "header"), (canvas, canvas)
    small = Grid.of(scale, side, TileParameters(size, target)).starts(0)
    large = Grid.of(scale, side, TileParameters(size * multiple, target)).starts(0)
    assert set(large.tolist()) <= set(small.tolist())
    np.testing.assert_array_equal(large, small[::multiple])


def test_names_of_tilings():
    assert [tiling_name(256, 0.5), tiling_name(224, 1.0), tiling_name(512, 0.2521)] == [
        "256px_0.5mpp",
        "224px_1mpp",
        "512px_0.2521mpp",
    ]
    assert TileParameters(512, 0.5, **vars(SelectionParameters())).name == "512px_0.5mpp"


@st.composite
def tissues(draw):
    parts = []
    for _ in range(draw(st.integers(1, 4))):
        x, y = draw(st.integers(0, 900)), draw(st.integers(0, 700))
        shape = shapely.Point(x, y).buffer(draw(st.integers(10, 300)))
        parts.append(shape.difference(shapely.Point(x + 20, y).buffer(draw(st.integers(1, 60)))))
    tissue = shapely.union_all(parts).intersection(shapely.box(0, 0, 1000, 800))
    return tissue if tissue.area > 0 else shapely.box(0, 0, 10, 10)


@settings(max_examples=60, deadline=None)
@given(
    tissue=tissues(),
    base=st.sampled_from([(0.25, 0.25), (0.499, 0.499), (0.26, 0.25)]),
    overlap=st.sampled_from([0, 10]),
    share=st.sampled_from([0.01, 0.25, 0.5, 1.0]),
)
def test_selection_equals_brute_force(tissue, base, overlap, share):
    parameters = TileParameters(size=64, mpp=0.5, overlap=overlap, min_tissue=share)
    grid = Grid.of(Scale(*base, "header"), (1000, 800), parameters)
    width, height = (round(64 * 0.5 / b) for b in base)
    expected, fractions = [], []
    for y in brute_starts(800, 64, overlap, 0.5, base[1]):
        for x in brute_starts(1000, 64, overlap, 0.5, base[0]):
            fraction = tissue.intersection(shapely.box(x, y, x + width, y + height)).area / (width * height)
            if fraction >= share - 1e-9:
                expected.append((x, y))
                fractions.append(fraction)
    tiles = select_tiles(tissue, grid, share)
    assert [tuple(c) for c in tiles.coords.tolist()] == expected
    np.testing.assert_allclose(tiles.tissue_fraction, fractions, atol=1e-6)
    padded = [x + width > 1000 or y + height > 800 for x, y in expected]
    np.testing.assert_array_equal(tiles.flags == FLAG_PADDED, padded)


@settings(max_examples=30, deadline=None)
@given(tissue=tissues(), seed=st.integers(0, 99))
def test_given_corners_are_measured_like_selected_ones(tissue, seed):
    grid = Grid.of(Scale(0.25, 0.26, "header"), (1000, 800), TileParameters(size=64))
    chosen = select_tiles(tissue, grid, 1e-6)
    shuffled = np.random.default_rng(seed).permutation(chosen.coords)
    tiles = given_tiles(tissue, grid, shuffled)
    np.testing.assert_array_equal(tiles.coords, chosen.coords)
    np.testing.assert_array_equal(tiles.flags, chosen.flags)
    np.testing.assert_allclose(tiles.tissue_fraction, chosen.tissue_fraction, atol=1e-6)
    outside = given_tiles(shapely.box(0, 0, 1, 1), grid, np.array([[900, 700], [10, 20]]))
    assert outside.coords.tolist() == [[10, 20], [900, 700]] and not outside.tissue_fraction.any()


def test_no_tile_is_an_empty_selection():
    grid = Grid.of(Scale(0.5, 0.5, "header"), (1000, 800), TileParameters(size=64))
    tiles = select_tiles(shapely.box(0, 0, 5, 5), grid, 0.5)
    assert tiles.coords.shape == (0, 2) and len(tiles.tissue_fraction) == len(tiles.flags) == 0


@pytest.mark.parametrize(
    "wrong", [{"size": 0}, {"mpp": 0.0}, {"overlap": 256}, {"overlap": -1}, {"min_tissue": 0.0}, {"min_tissue": 1.1}]
)
def test_impossible_parameters_are_refused(wrong):
    with pytest.raises(PathomixError, match=r"slides\.tiles"):
        TileParameters(**wrong).checked()


def test_tiles_under_a_pixel_are_refused():
    with pytest.raises(PathomixError, match="smaller than one pixel"):
        Grid.of(Scale(4.0, 4.0, "header"), (10, 10), TileParameters(size=1, mpp=0.5))
