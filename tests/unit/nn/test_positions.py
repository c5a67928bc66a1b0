"""Positions against a table written out cell by cell."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pathomix.core.errors import PathomixError
from pathomix.nn.positions import axis_encoding, check_cells, grid_cells, position_index, position_rows


def written_out(grid: int, width: int) -> torch.Tensor:
    rows = [[0.0] * width]
    quarter = width // 4
    for a in range(grid):
        for b in range(grid):
            row = []
            for t in (b, a):
                angles = [t * 10000 ** (-k / quarter) for k in range(quarter)]
                row += [math.sin(x) for x in angles] + [math.cos(x) for x in angles]
            rows.append(row)
    return torch.tensor(rows, dtype=torch.float64).float()


@pytest.mark.parametrize(("grid", "width"), [(6, 16), (11, 32), (3, 4)])
def test_rows_equal_the_table(grid: int, width: int) -> None:
    table = position_rows(torch.arange(grid * grid + 1), grid, width)
    torch.testing.assert_close(table, written_out(grid, width), atol=1e-7, rtol=0)


def test_first_half_knows_the_second_coordinate_only() -> None:
    cells = torch.tensor([[3, 7], [5, 7], [3, 8]])
    rows = position_rows(position_index(cells, 1000), 1000, 768)
    assert torch.equal(rows[0, :384], rows[1, :384]) and not torch.equal(rows[0, 384:], rows[1, 384:])
    assert torch.equal(rows[0, 384:], rows[2, 384:]) and not torch.equal(rows[0, :384], rows[2, :384])


@given(
    a=st.integers(0, 999), b=st.integers(0, 999), x=st.floats(0, 255.99), y=st.floats(0, 255.99), whole=st.booleans()
)
def test_any_point_of_a_tile_has_its_cell(a: int, b: int, x: float, y: float, whole: bool) -> None:
    coords = torch.tensor([[a * 256 + x, b * 256 + y]], dtype=torch.float64)
    cells = grid_cells(coords.long() if whole else coords, 256)
    assert cells.tolist() == [[a, b]]
    assert position_index(cells, 1000).tolist() == [a * 1000 + b + 1]


def test_negative_coordinates_are_floored_not_truncated() -> None:
    assert grid_cells(torch.tensor([[-1, -257]]), 256).tolist() == [[-1, -2]]


def test_half_precision_coordinates_are_widened_before_the_division() -> None:
    coords = torch.tensor([[4096, 255]], dtype=torch.bfloat16)
    assert grid_cells(coords, 256).tolist() == [[16, 0 if float(coords[0, 1]) < 256 else 1]]


def test_coordinates_that_are_no_numbers_are_named() -> None:
    coords = torch.zeros(1, 3, 2)
    coords[0, 2, 1] = torch.nan
    with pytest.raises(PathomixError, match="tile 0, 2"):
        grid_cells(coords, 256)


def test_cells_outside_are_named() -> None:
    check_cells(torch.tensor([[[0, 0], [9, 9]]]), 10)
    with pytest.raises(PathomixError, match=r"3 of 4 tiles.*\(-1, 0\), \(0, 10\)"):
        check_cells(torch.tensor([[[0, 0], [0, 10], [0, 10], [-1, 0]]]), 10)


def test_a_cell_beyond_the_grid_wraps_into_the_next_row_when_not_checked() -> None:
    wrapped, there = (position_index(torch.tensor(cell), 10) for cell in ([2, 10], [3, 0]))
    assert torch.equal(wrapped, there)


@pytest.mark.parametrize("row", [-1, 101])
def test_rows_outside_the_table_are_named(row: int) -> None:
    with pytest.raises(PathomixError, match=f": {row};"):
        position_rows(torch.tensor([0, row]), 10, 8)


def test_widths_that_cannot_be_quartered_are_refused() -> None:
    with pytest.raises(PathomixError, match="multiple of 4"):
        position_rows(torch.tensor([1]), 10, 6)


def test_encoding_made_in_inference_mode_can_be_trained_with() -> None:
    axis_encoding.cache_clear()
    with torch.inference_mode():
        position_rows(torch.tensor([1]), 10, 8)
    rows = position_rows(torch.tensor([1, 2]), 10, 8)
    weight = torch.ones(8, requires_grad=True)
    (rows * weight).sum().backward()
    torch.testing.assert_close(weight.grad, rows.sum(0))
