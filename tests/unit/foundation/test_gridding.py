"""Tiles summed by cell, against a plain loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pathomix.core.errors import PathomixError
from pathomix.foundation.gridding import cell_sums, sum_cells
from pathomix.foundation.layout import Arranged


def arranged(features, coords):
    rows = np.arange(len(features))
    return Arranged(np.asarray(features, np.float32), np.asarray(coords, np.int64), rows + 100, rows)


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 300), st.integers(1, 9), st.integers(0, 999))
def test_sums_equal_a_loop_over_tiles(tiles, span, edge, seed):
    rng = np.random.default_rng(seed)
    features, coords = rng.normal(size=(tiles, 3)).astype(np.float32), rng.integers(-span, span, (tiles, 2))
    found: dict[tuple[int, ...], list[int]] = {}
    for row, (a, b) in enumerate(coords - coords.min(axis=0)):
        found.setdefault((a // edge, b // edge), []).append(row)
    sums = cell_sums(torch.from_numpy(features), torch.from_numpy(coords), edge)
    assert [tuple(c) for c in sums.cells.tolist()] == sorted(found)
    for number, cell in enumerate(sorted(found)):
        rows = found[cell]
        np.testing.assert_allclose(sums.features[number], features[rows].sum(axis=0), atol=1e-5)
        np.testing.assert_array_equal(sums.coords[number], coords[rows].sum(axis=0))
        assert (sums.cell_of[rows] == number).all()


def test_half_precision_is_summed_in_float32():
    sums = cell_sums(torch.full((4096, 1), 1.0, dtype=torch.float16), torch.zeros(4096, 2, dtype=torch.long), 1)
    assert sums.features.dtype == torch.float32 and sums.features.item() == 4096


def test_a_case_as_the_released_code_feeds_it():
    features = [[1, 0], [2, 0], [0, 0], [5, -5], [-5, 5], [0, 3]]
    coords = [[0, 0], [255, 0], [600, 0], [0, 600], [10, 610], [1024, 1024]]
    ours = sum_cells(arranged(features, coords), "P", 256)
    np.testing.assert_array_equal(ours.features, [[3, 0], [0, 3]])
    np.testing.assert_array_equal(ours.coords, [[0, 0], [1024, 1024]])
    np.testing.assert_array_equal(ours.tiles, np.arange(6) + 100)
    np.testing.assert_array_equal(ours.tokens, [0, 0, -1, -1, -1, 1])  # zeros, and what sums to zero, is background


def test_tiles_of_different_cells_are_left_alone():
    rng = np.random.default_rng(0)
    cells = rng.permutation(100)[:30]
    given_case = arranged(rng.normal(size=(30, 4)), np.column_stack([cells // 10, cells % 10]) * 64)
    ours = sum_cells(given_case, "P", 64)
    order = np.lexsort((given_case.coords[:, 1], given_case.coords[:, 0]))
    np.testing.assert_array_equal(ours.features, given_case.features[order])
    moved = given_case.coords[order] - ours.coords
    assert (moved == given_case.coords.min(axis=0)).all()
    np.testing.assert_array_equal(ours.features[ours.tokens], given_case.features)


def test_nothing_but_background_names_the_case():
    with pytest.raises(PathomixError, match="TCGA-1: all tile features are zero"):
        sum_cells(arranged(np.zeros((3, 2)), np.zeros((3, 2))), "TCGA-1", 4)
