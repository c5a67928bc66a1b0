"""Frames, slides of one case, subsets and order."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pathomix.core.bags import Bag
from pathomix.core.errors import PathomixError
from pathomix.foundation.layout import Layout, arrange, as_released, disjoint, in_frame, subset, wrapped
from pathomix.nn.positions import position_index

RAW = Layout("level0_raw", "released")


def bag(*slides, edge=256.0, dim=3):
    """Slides as lists of (x, y); the features of a tile are its row in the bag."""
    coords = np.array([place for slide in slides for place in slide], np.int32).reshape(-1, 2)
    features = np.repeat(np.arange(len(coords), dtype=np.float32)[:, None], dim, axis=1)
    number = np.repeat(np.arange(len(slides), dtype=np.int32), [len(slide) for slide in slides])
    edges = np.broadcast_to(np.asarray(edge, np.float32).reshape(-1, 1), (len(slides), 2))
    return Bag(features, coords, number, tuple(f"s{i}" for i in range(len(slides))), edges.copy())


def laid(content, layout=Layout(), *, tile=256, grid=1000, case="P1", draw=None):  # noqa: B008
    return arrange(content, case, layout, in_dim=3, tile=tile, grid=grid, draw=draw)


@settings(deadline=None, max_examples=60)
@given(st.floats(0.09, 1.1), st.integers(64, 512), st.floats(0.4, 1.0))
def test_every_tile_of_a_grid_has_its_own_cell_at_any_scale(mpp, size, target):
    pitch = size * target / mpp
    if pitch < 4:
        return
    k = np.arange(1000)
    coords = np.rint(k * pitch).astype(np.int32)
    content = bag([(x, x) for x in coords], edge=np.float32(pitch))
    np.testing.assert_array_equal(in_frame(content, 256), np.column_stack([k, k]) * 256)


def test_the_same_tissue_at_two_scales_has_the_same_places():
    cells = [(3, 5), (4, 5), (40, 77), (0, 900)]
    at = {mpp: laid(bag([(round(a * 128 / mpp), round(b * 128 / mpp)) for a, b in cells], edge=128 / mpp))
          for mpp in (0.25, 0.5, 0.2527)}  # fmt: skip
    for arranged in at.values():
        np.testing.assert_array_equal(arranged.coords, np.array(cells) * 256)
    raw = [laid(bag([(int(a * 128 / mpp), 0) for a, _ in cells], edge=128 / mpp), RAW).coords for mpp in (0.25, 0.5)]
    np.testing.assert_array_equal(raw[0], 2 * raw[1])  # released: twice as far apart on a 40x scan


def test_whole_pixel_edges_give_the_plain_division():
    x = np.arange(0, 5000, 7, dtype=np.int32)
    content = bag([(a, 3) for a in x], edge=512.0)
    np.testing.assert_array_equal(in_frame(content, 256)[:, 0] // 256, x // 512)


def test_each_slide_has_its_own_edge():
    content = bag([(1024, 0)], [(1024, 0)], edge=[512.0, 256.0])
    np.testing.assert_array_equal(in_frame(content, 256)[:, 0], [512, 1024])


def test_released_offsets():
    coords = np.array([(0, 100), (5, 700), (1, 20), (2, 50), (9, 0)])
    shifted = as_released(coords, np.array([0, 0, 1, 1, 2], np.int32))
    np.testing.assert_array_equal(shifted[:, 1], [100, 700, 20 + 2200, 50 + 2200, 0 + 1550])  # not cumulative
    np.testing.assert_array_equal(shifted[:, 0], coords[:, 0])


def test_released_keeps_the_order_and_wraps_as_its_position_index_does():
    content = bag([(300, 250_000), (0, 600)], [(600, 5120), (0, 0)])
    ours = laid(content, RAW)
    np.testing.assert_array_equal(ours.tiles, range(4))
    plain = as_released(content.coords.astype(np.int64), content.slide)
    assert plain.max() >= 256_000
    index = [position_index(torch.from_numpy(c) // 256, 1000) for c in (plain, ours.coords)]
    np.testing.assert_array_equal(index[0], index[1])
    assert ours.coords[:, 1].max() < 256_000
    np.testing.assert_array_equal(wrapped(plain, "P1", 256, None), plain)


slide = st.builds(
    lambda x, y, w, h, n, seed: np.column_stack(
        [np.random.default_rng(seed).integers(x, x + w, n), np.random.default_rng(seed + 1).integers(y, y + h, n)]
    ),
    st.integers(0, 300), st.integers(0, 300), st.integers(1, 350), st.integers(1, 350), st.integers(1, 30),
    st.integers(0, 1000),
)  # fmt: skip


@settings(deadline=None, max_examples=300)
@given(st.lists(slide, min_size=1, max_size=9), st.sampled_from([300, 700, 1000, None]), st.sampled_from([1, 64, 256]))
def test_slides_never_meet_and_stay_inside(slides, grid, tile):
    """Acceptance test 8 of spec modaltune 9.6."""
    coords = np.concatenate(slides) * tile + tile // 2
    number = np.repeat(np.arange(len(slides), dtype=np.int32) * 2, [len(s) for s in slides])  # gaps in the numbers
    try:
        placed = disjoint(coords, number, "P7", tile, grid)
    except PathomixError as error:
        # only a slide beyond the grid, or more slides than would fit for certain, may be refused
        sizes = np.array([s.max(axis=0) - s.min(axis=0) + 1 for s in slides])
        assert (sizes > grid).any() or sizes[:, 0].sum() > grid
        assert "P7" in str(error)
        return
    assert grid is None or (placed.min() >= 0 and placed.max() < grid * tile)
    cells = [set(map(tuple, placed[number == n] // tile)) for n in np.unique(number)]
    assert sum(map(len, cells)) == len(set.union(*cells))
    for n in np.unique(number):
        moved = placed[number == n] - coords[number == n]
        assert (moved == moved[0]).all() and (moved[0] % tile == 0).all()


def test_slides_go_below_each_other_then_into_columns():
    tall = [(0, 0), (99, 399)]
    places = disjoint(np.array(tall * 3), np.repeat(np.arange(3, dtype=np.int32), 2), "P", 1, None)
    np.testing.assert_array_equal(places[::2], [[0, 0], [0, 400 + 1500], [0, 800 + 3000]])
    places = disjoint(np.array(tall * 3) * 256, np.repeat(np.arange(3, dtype=np.int32), 2), "P", 256, 1000) // 256
    np.testing.assert_array_equal(places[::2], [[0, 0], [0, 406], [106, 0]])
    mixed = np.array([(0, 0), (49, 299), (0, 0), (9, 299), (0, 0), (5, 299)])
    places = disjoint(mixed, np.repeat(np.arange(3, dtype=np.int32), 2), "P", 1, 600)
    np.testing.assert_array_equal(places[::2], [[0, 0], [0, 300], [50, 0]])  # a column is as wide as its widest slide
    one = np.array([[500, 900], [510, 999]])
    np.testing.assert_array_equal(disjoint(one, np.zeros(2, np.int32), "P", 1, 1000), one)
    np.testing.assert_array_equal(
        disjoint(one + np.array([600, -950]), np.zeros(2, np.int32), "P", 1, 1000)[:, 0], [0, 10]
    )


def test_slides_that_do_not_fit_name_the_case():
    content = bag([(0, 0), (800 * 256, 800 * 256)], [(0, 0), (300 * 256, 300 * 256)])
    with pytest.raises(PathomixError, match=r"TCGA-1: its slides, 801 x 801, 301 x 301 cells, do not fit into 1000"):
        laid(content, case="TCGA-1")
    laid(content, grid=None)
    laid(content, tile=256, grid=1102)


def test_tiles_of_a_slide_follow_each_other_row_by_row_whatever_their_order():
    rng = np.random.default_rng(0)
    cells = rng.permutation(400)[:60]
    content = bag(
        [(a % 20 * 256, a // 20 * 256) for a in cells[:40]], [(a % 20 * 256, a // 20 * 256) for a in cells[40:]]
    )
    ours = laid(content)
    np.testing.assert_array_equal(ours.features[:, 0], ours.tiles)
    assert set(ours.tiles[:40]) == set(range(40))
    for part in (ours.coords[:40], ours.coords[40:]):
        assert [tuple(c) for c in part] == sorted(map(tuple, part), key=lambda c: (c[1], c[0]))
    order = np.concatenate([rng.permutation(40), 40 + rng.permutation(20)])
    other = Bag(content.features[order], content.coords[order], content.slide, content.slide_ids, content.tile_edge)
    again = laid(other)
    np.testing.assert_array_equal(again.features, ours.features)
    np.testing.assert_array_equal(again.coords, ours.coords)


def test_a_fixed_subset_is_the_same_at_every_call_and_on_every_machine():
    """Acceptance test 9 of spec modaltune 9.6."""
    assert subset(50, 8, "TCGA-02-0001", None).tolist() == [4, 8, 24, 33, 35, 37, 38, 42]  # stored
    np.random.seed(3)
    before = np.random.get_state()[1].copy()
    first = subset(50, 8, "TCGA-02-0001", None)
    np.testing.assert_array_equal(subset(50, 8, "TCGA-02-0001", None), first)
    np.testing.assert_array_equal(np.random.get_state()[1], before)
    assert subset(50, 8, "TCGA-02-0002", None).tolist() != first.tolist()


@given(st.integers(1, 300), st.integers(1, 300), st.text(max_size=5), st.none() | st.integers(0, 9))
def test_a_subset_is_ascending_and_as_large_as_it_may_be(tiles, most, case, draw):
    rows = subset(tiles, most, case, draw)
    assert len(rows) == min(tiles, most) and (np.diff(rows) > 0).all() and rows[0] >= 0 and rows[-1] < tiles


def test_every_tile_is_as_likely_as_any_other():
    counts = sum(np.bincount(subset(40, 10, f"P{i}", None), minlength=40) for i in range(2000))
    assert abs(counts - 500).max() < 5 * np.sqrt(2000 * 0.25 * 0.75)


def test_redrawn_subsets_differ_by_draw_and_repeat_by_number():
    content = bag([(256 * (i % 100), 256 * (i // 100)) for i in range(1000)])
    layout = Layout(subset="redrawn", max_tiles=50)
    draws = [laid(content, layout, draw=d).tiles for d in (0, 1, 0)]
    np.testing.assert_array_equal(draws[0], draws[2])
    assert len(set(draws[0]) & set(draws[1])) < 20 and (np.diff(draws[1]) > 0).all()
    fixed = [laid(content, Layout(max_tiles=50), draw=d).tiles for d in (None, 1)]
    np.testing.assert_array_equal(fixed[0], fixed[1])
    with pytest.raises(ValueError, match="number of the draw"):
        laid(content, layout)


def test_offsets_do_not_depend_on_the_subset():
    content = bag([(0, 256 * i) for i in range(100)], [(0, 256 * i) for i in range(100)])
    for layout in (Layout(max_tiles=10), Layout(slide_layout="released", max_tiles=10)):
        whole, part = laid(content, Layout(slide_layout=layout.slide_layout)), laid(content, layout)
        place = dict(zip(whole.tiles.tolist(), whole.coords.tolist(), strict=True))
        assert [place[t] for t in part.tiles.tolist()] == part.coords.tolist()


def test_one_tile_and_a_hundred_thousand():
    one = laid(bag([(70, 9000)]))
    assert one.features.shape == (1, 3) and one.coords.tolist() == [[0, 35 * 256]] and one.tokens.tolist() == [0]
    many = bag(*[[(256 * (i % 250), 256 * (i // 250)) for i in range(50_000)]] * 2)
    start = time.perf_counter()
    arranged = laid(many, Layout(max_tiles=100_000))
    assert len(arranged.features) == 100_000 and time.perf_counter() - start < 3
    assert len(np.unique(arranged.coords, axis=0)) == 100_000
    assert len(laid(many).features) == 25_000
    assert arranged.features.dtype == np.float32 and arranged.coords.dtype == np.int64


def test_features_of_another_width_name_the_case_and_both_widths():
    with pytest.raises(PathomixError, match=r"TCGA-9: tile features of width 7, the slide encoder needs 3"):
        laid(bag([(0, 0)], dim=7), case="TCGA-9")


def test_a_bag_that_cannot_be_laid_out():
    with pytest.raises(PathomixError, match="P1: no tile"):
        laid(bag([]))
    for edge in (0.0, np.nan, -5.0):
        with pytest.raises(PathomixError, match="P1: tile edge"):
            laid(bag([(0, 0)], edge=edge))


@pytest.mark.parametrize("wrong", [{"coord_frame": "level0"}, {"slide_layout": "x"}, {"subset": "x"},
                                   {"same_cell": "x"}, {"max_tiles": 0}])  # fmt: skip
def test_switches_are_checked(wrong):
    with pytest.raises(PathomixError, match=next(iter(wrong))):
        Layout(**wrong)
