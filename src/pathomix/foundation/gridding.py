"""TITAN's gridding: tiles that fall into one cell are summed (spec slides_and_encoders 5)."""

from __future__ import annotations

import logging
from typing import NamedTuple

import torch
from torch import Tensor

from pathomix.core.errors import PathomixError
from pathomix.foundation.layout import Arranged

log = logging.getLogger(__name__)


class CellSums(NamedTuple):
    """Tiles summed by cell; cells in row-major order, the first coordinate being the row.

    Attributes:
        cells: int64 [C, 2], occupied cells.
        features: float32 [C, D], sums.
        coords: int64 [C, 2], sums of coordinates.
        cell_of: int64 [N], row in `cells` of each tile.
    """

    cells: Tensor
    features: Tensor
    coords: Tensor
    cell_of: Tensor

    @property
    def foreground(self) -> Tensor:
        """Cells with any feature other than zero, bool [C]; the others count as background."""
        return (self.features != 0).any(dim=1)


def cell_sums(features: Tensor, coords: Tensor, tile: int) -> CellSums:
    """Sum tiles by the cell floor((coord - smallest coord) / tile).

    Args:
        features: [N, D].
        coords: int64 [N, 2].
        tile: Edge of a cell in units of the coordinates.
    """
    cells = torch.div(coords - coords.amin(dim=0), tile, rounding_mode="floor")
    occupied, cell_of = torch.unique(cells, dim=0, return_inverse=True)
    # float32: rows of half precision cannot be added on every device (spec 5, dtype trap)
    sums = torch.zeros(len(occupied), features.shape[1], device=features.device)
    places = torch.zeros_like(occupied)
    sums.index_add_(0, cell_of, features.float())
    return CellSums(occupied, sums, places.index_add_(0, cell_of, coords), cell_of)


def sum_cells(arranged: Arranged, case_id: str, tile: int) -> Arranged:
    """A case as the released code feeds it to TITAN: tiles of one cell summed, background left out.

    Raises:
        PathomixError: Every cell is background.
    """
    sums = cell_sums(torch.from_numpy(arranged.features), torch.from_numpy(arranged.coords), tile)
    kept = sums.foreground
    if not kept.any():
        raise PathomixError(
            f"{case_id}: all tile features are zero", offending=[case_id], remedy="embed its slides again"
        )
    if len(sums.cells) < len(arranged.coords):
        log.warning("%s: %d tiles are summed into %d cells", case_id, len(arranged.coords), len(sums.cells))
    tokens = torch.where(kept, kept.cumsum(0) - 1, -1)[sums.cell_of]
    coords = sums.cells[kept] * tile
    return Arranged(sums.features[kept].numpy(), coords.numpy(), arranged.tiles, tokens.numpy())
