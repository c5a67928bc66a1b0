"""Two-dimensional sine-cosine positions of tiles on a slide's grid (spec slides_and_encoders 4.3)."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from pathomix.core.errors import PathomixError


def grid_cells(coords: Tensor, divisor: float) -> Tensor:
    """Integer grid cell [..., 2] of coordinates [..., 2]: the floor of coordinate / divisor.

    Args:
        coords: Pixels; floating-point ones are divided in their own precision, as the released code does.
        divisor: Edge of a cell in the same pixels.

    Raises:
        PathomixError: A coordinate that is not a finite number.
    """
    wide = coords if coords.dtype in (torch.float32, torch.float64) else coords.double()
    cells = torch.floor(wide / divisor)
    if not bool(torch.isfinite(cells).all()):
        bad = (~torch.isfinite(cells).all(dim=-1)).nonzero().tolist()
        raise PathomixError(
            "tile coordinates that are not finite numbers",
            offending=["tile " + ", ".join(map(str, place)) for place in bad],
            remedy="compute the coordinates of these tiles again",
        )
    return cells.long()


def check_cells(cells: Tensor, grid: int) -> None:
    """Check that cells [..., 2] lie in 0..grid-1 on both axes.

    Raises:
        PathomixError: Naming the cells outside.
    """
    inside = ((cells >= 0) & (cells < grid)).all(dim=-1)
    if not bool(inside.all()):
        bad = torch.unique(cells[~inside], dim=0).tolist()
        raise PathomixError(
            f"{int((~inside).sum())} of {inside.numel()} tiles lie outside the position grid of {grid} x {grid} cells",
            offending=[f"({a}, {b})" for a, b in bad],
            remedy="check coordinates and coord_frame, or lay the slides of the case out so that they fit",
        )


def position_index(cells: Tensor, grid: int) -> Tensor:
    """Row of the position table [...] of cells [..., 2] (a, b): 1 + a * grid + b.

    Unchecked: b beyond the grid gives a cell of the next row of cells, as in the released code.
    """
    return cells[..., 0] * grid + cells[..., 1] + 1


@lru_cache(maxsize=4)
def axis_encoding(count: int, width: int) -> Tensor:
    """Sine-cosine code of positions 0..count-1 on one axis [count, width], computed in float64, cast to float32.

    Sines stand before cosines; frequency k of width/2 is 10000^(-k / (width / 2)).
    """
    # a tensor first made in inference mode could not take part in training later
    with torch.inference_mode(False):
        frequency = 10000.0 ** (-torch.arange(width // 2, dtype=torch.float64) / (width / 2))
        angle = torch.arange(count, dtype=torch.float64)[:, None] * frequency
        return torch.cat([angle.sin(), angle.cos()], dim=1).float()


def position_rows(index: Tensor, grid: int, width: int) -> Tensor:
    """Rows `index` [...] of the position table [1 + grid^2, width] without building it.

    Row 0 (class token) is zero. The first half of the channels encodes the second coordinate of the cell, the second
    half the first one.

    Returns:
        float32 [..., width], on the device of `index`.

    Raises:
        PathomixError: A width that is no multiple of 4, or a row outside the table.
    """
    if width % 4:
        raise PathomixError(f"positions of width {width}", remedy="choose an embedding width that is a multiple of 4")
    outside = (index < 0) | (index > grid * grid)
    if bool(outside.any()):
        raise PathomixError(
            f"rows outside the position table of {grid} x {grid} cells",
            offending=torch.unique(index[outside]).tolist(),
            remedy="check coordinates and coord_frame, or lay the slides of the case out so that they fit",
        )
    axis = axis_encoding(grid, width // 2).to(index.device)
    cell = (index - 1).clamp(min=0)
    rows = torch.cat([axis[cell % grid], axis[cell // grid]], dim=-1)
    return rows.masked_fill((index == 0).unsqueeze(-1), 0.0)
