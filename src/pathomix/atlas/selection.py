"""Which cells stay: classes large enough, a draw from large ones, and the part of each cell."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pathomix.atlas.labels import NO_CLASS, Labels
from pathomix.atlas.parameters import AtlasParameters
from pathomix.atlas.parts import draws, held_out_cells, held_out_groups, lowest
from pathomix.core.errors import PathomixError


@dataclass
class Cells:
    """Cells of the file and why each is dropped (``""``: kept so far)."""

    names: NDArray[np.object_]
    reason: NDArray[np.object_] = field(init=False)

    def __post_init__(self) -> None:
        self.reason = np.full(len(self.names), "", dtype=object)

    @property
    def rows(self) -> NDArray[np.int64]:
        """Rows of the cells that are still there."""
        return np.flatnonzero(self.reason == "")

    def drop(self, mask: NDArray[np.bool_], reason: str) -> None:
        """Drop the cells of `mask` that are still there."""
        self.reason[mask & (self.reason == "")] = reason

    def dropped(self) -> dict[str, int]:
        """Cells per reason."""
        reasons, numbers = np.unique(self.reason[self.reason != ""].astype(str), return_counts=True)
        return {str(reason): int(number) for reason, number in zip(reasons, numbers, strict=True)}


@dataclass(frozen=True)
class Chosen:
    """Classes that remain, and of each cell of the file its class among them (-1), its donor, whether it is valid."""

    classes: tuple[str, ...]
    too_few: dict[str, int]
    codes: NDArray[np.int64]
    groups: NDArray[np.object_]
    valid: NDArray[np.bool_]


def choose(name: str, cells: Cells, labels: Labels, groups: NDArray[np.object_], parameters: AtlasParameters) -> Chosen:
    """Drop small classes, draw from large ones, hold out donors.

    Raises:
        PathomixError: Fewer than two classes remain, or no donor can be held out.
    """
    sizes = np.bincount(labels.codes[cells.rows], minlength=len(labels.classes))
    stays = sizes >= parameters.min_cells_per_class
    too_few = {labels.classes[c]: int(sizes[c]) for c in np.flatnonzero(~stays)}
    if stays.sum() < 2:
        raise PathomixError(
            f"atlas {name}: fewer than two classes have {parameters.min_cells_per_class} cells",
            offending=[f"{c} ({n})" for c, n in zip(labels.classes, sizes, strict=True)],
            remedy="give more cells, correct label_map, or lower min_cells_per_class",
        )
    number = np.append(np.where(stays, np.cumsum(stays) - 1, NO_CLASS), NO_CLASS)
    codes = number[labels.codes].astype(np.int64)
    cells.drop(codes == NO_CLASS, "class with too few cells")
    rows, seed = cells.rows, parameters.seed
    limit = np.full(int(stays.sum()), parameters.max_cells_per_class)
    taken = np.zeros(len(codes), dtype=bool)
    taken[rows] = lowest(draws(seed, "sample", cells.names[rows]), codes[rows], limit)
    cells.drop(~taken, "above max_cells_per_class")
    classes = tuple(labels.classes[c] for c in np.flatnonzero(stays))
    rows, valid = cells.rows, np.zeros(len(codes), dtype=bool)
    if parameters.group_key is None:
        numbers = draws(seed, "parts", cells.names[rows])
        valid[rows] = held_out_cells(numbers, codes[rows], parameters.valid_fraction)
    else:
        valid[rows] = _held_out(name, classes, codes[rows], groups[rows], parameters)
    return Chosen(classes, too_few, codes, groups, valid)


def _held_out(
    name: str,
    classes: tuple[str, ...],
    codes: NDArray[np.int64],
    groups: NDArray[np.object_],
    parameters: AtlasParameters,
) -> NDArray[np.bool_]:
    """Cells whose donor is held out."""
    donors, position = np.unique(groups.astype(str), return_inverse=True)
    table = np.zeros((len(donors), len(classes)), dtype=np.int64)
    np.add.at(table, (position, codes), 1)
    valid = held_out_groups(table, parameters.valid_fraction, parameters.seed)
    if not valid.any():
        single = [classes[c] for c in np.flatnonzero((table > 0).sum(axis=0) == 1)]
        raise PathomixError(
            f"atlas {name}: no {parameters.group_key} can be held out without taking all cells of a class from "
            f"training ({len(donors)} there); classes of one {parameters.group_key} only",
            offending=single,
            remedy="leave such classes out, give more donors, or leave out group_key (cells are then split one by one)",
        )
    return valid[position]
