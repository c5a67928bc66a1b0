"""What slides hand to methods: the tiles of one patient, and lazy access to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Bag:
    """All tiles of one patient, slides concatenated in the order of their ids.

    Attributes:
        features: float32 [tiles, dim].
        coords: int32 [tiles, 2], level-0 pixels (x, y) of each tile's own slide.
        slide: int32 [tiles], position of the tile's slide in `slide_ids`.
        slide_ids: Slides of the patient.
        tile_edge: float32 [slides, 2], width and height of a tile in level-0 pixels of each slide.
    """

    features: NDArray[np.float32]
    coords: NDArray[np.int32]
    slide: NDArray[np.int32]
    slide_ids: tuple[str, ...]
    tile_edge: NDArray[np.float32]


class TileStore(Protocol):
    """Lazy access to tile features by patient."""

    @property
    def dim(self) -> int:
        """Feature width."""
        ...

    @property
    def patient_ids(self) -> frozenset[str]:
        """Patients with at least one embedded slide."""
        ...

    def bag(self, patient_id: str) -> Bag:
        """Read one patient's tiles."""
        ...
