"""Plan of reads: every tile once, in an order of its own tiling, in bounded pieces; quick for a giant slide."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pathomix.slides.engine.plan import SLOT_BYTES, Tiling, plan_reads, slot_bytes


def tiling(name="t", size=256, mpp=0.5, level=0, downsample=1.0, coords=None, count=0, seed=0):
    if coords is None:
        coords = np.random.default_rng(seed).integers(0, 40_000, (count, 2))
    return Tiling(name, size, mpp, level, (downsample, downsample), np.asarray(coords, dtype=np.int64))


def taken(reads, name):
    """Positions in the order of reading and coordinates of one tiling."""
    parts = [part for read in reads for part in read if part.tiling == name]
    first = [part.first + np.arange(len(part.coords)) for part in parts]
    return np.concatenate([*first, np.zeros(0, int)]), np.concatenate([*(p.coords for p in parts), np.zeros((0, 2))])


@settings(max_examples=40, deadline=None)
@given(count=st.integers(0, 300), other=st.integers(0, 300), level=st.integers(0, 1), seed=st.integers(0, 99),
       done=st.integers(0, 300), size=st.sampled_from([32, 256, 1000]))  # fmt: skip
def test_every_tile_once_in_its_order_and_reads_fit(count, other, level, seed, done, size):
    first = tiling("a", 256, count=count, seed=seed)
    second = tiling("b", size, level=level, downsample=4.0**level, count=other, seed=seed + 1)
    capacity = slot_bytes([256, size])
    reads = list(plan_reads([first, second], {"a": done}, capacity))
    for one, start in ((first, done), (second, 0)):
        positions, coords = taken(reads, one.name)
        np.testing.assert_array_equal(positions, np.arange(min(start, len(one.coords)), len(one.coords)))
        np.testing.assert_array_equal(coords, one.coords[one.order][start:])
    for read in reads:
        assert sum(part.nbytes for part in read) <= capacity and all(len(part.coords) for part in read)
        assert sum(len(part.coords) for part in read) <= 1024
    np.testing.assert_array_equal(np.sort(first.order), np.arange(count))


def test_the_order_is_region_by_region_row_major():
    y, x = np.meshgrid(np.arange(0, 8192, 512), np.arange(0, 8192, 512), indexing="ij")
    one = tiling(coords=np.column_stack([x.ravel(), y.ravel()]))
    cells = one.coords[one.order] // 1024
    assert [tuple(c) for c in cells[::4].tolist()] == [(c, r) for r in range(8) for c in range(8)]
    inside = one.order.reshape(64, 4)
    assert (np.diff(inside, axis=1) > 0).all()  # as in the file within a region


@pytest.mark.parametrize("downsample", [1.0, 4.0, 4.0003])
def test_regions_are_counted_in_pixels_of_the_level(downsample):
    edge = round(1024 * downsample)
    one = tiling(downsample=downsample, coords=[[0, 0], [edge - 2, 0], [edge + 2, 0], [0, edge + 2]])
    assert sorted(one.regions()) == [(0, 0), (0, 1), (1, 0)]


def test_a_tile_larger_than_a_slot_still_fits():
    one = tiling(size=3000, coords=[[0, 0], [100, 100]])
    assert [len(read) for read in plan_reads([one], {}, slot_bytes([3000]))] == [1, 1]
    assert slot_bytes([256]) == SLOT_BYTES


def test_a_slide_of_200000_tiles_is_planned_in_flat_memory():
    y, x = np.meshgrid(np.arange(400) * 506, np.arange(500) * 506, indexing="ij")
    coords = np.column_stack([x.ravel(), y.ravel()])
    one, two = tiling("a", coords=coords), tiling("b", 512, coords=coords[::2])
    tracemalloc.start()
    tiles = reads = 0
    for read in plan_reads([one, two], {}, slot_bytes([256, 512])):
        tiles += sum(len(part.coords) for part in read)
        reads += 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert tiles == 300_000 and reads < 60_000
    assert peak < 60e6
