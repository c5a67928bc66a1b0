"""Tiles of some patients in memory, and their statistics."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from pathomix.cohort.cases import Bag, Cases
from pathomix.core.errors import PathomixError
from pathomix.core.fitting import note_fitted

log = logging.getLogger(__name__)

Arrange = Callable[[Bag, str], tuple[NDArray[np.floating], NDArray[np.integer]]]
"""From a bag and its patient's id to the features [t, dim] and coordinates [t, 2] a network reads."""


def with_tiles(cases: Cases) -> pd.Index:
    """Patients of `cases` with at least one embedded slide, in table order."""
    return cases.ids[cases.ids.isin(cases.tiles.patient_ids)] if cases.tiles is not None else cases.ids[:0]


def evenly_spaced(count: int, most: int) -> NDArray[np.int64]:
    """Positions of `most` evenly spaced items of `count`, first and last among them; all where there are fewer."""
    return np.linspace(0, count - 1, min(count, most)).round().astype(np.int64)


def thinned(max_tiles: int) -> Arrange:
    """Bags as they are; of one above `max_tiles`, evenly spaced tiles (the same for every seed and fold)."""

    def arrange(bag: Bag, patient: str) -> tuple[NDArray[np.floating], NDArray[np.integer]]:
        kept = evenly_spaced(len(bag.features), max_tiles)
        return bag.features[kept], bag.coords[kept]

    return arrange


@dataclass(frozen=True)
class TileScaling:
    """Mean and standard deviation [dim] of the training patients' tiles, every patient with the same weight."""

    mean: Tensor
    sd: Tensor

    def scaled(self, features: Tensor) -> Tensor:
        """z-scores [t, dim], float32."""
        return (features.float() - self.mean) / self.sd

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Named arrays."""
        return {"tile_mean": self.mean.numpy(), "tile_sd": self.sd.numpy()}


class Bags:
    """Bags of some patients in memory, as float16 (the precision they are stored in).

    Args:
        cases: Patients, all of them with tiles. One whose bag `arrange` refuses is left out with a warning.
        arrange: Which tiles are kept, in what order, with what coordinates.

    Attributes:
        rows: Positions of the patients among those of `cases`.
        ids: The patients.
        features: Per patient float16 [t, dim].
        coords: Per patient int32 [t, 2].
    """

    def __init__(self, cases: Cases, arrange: Arrange) -> None:
        self.features: list[Tensor] = []
        self.coords: list[Tensor] = []
        kept = []
        for row, patient in enumerate(cases.ids):
            assert cases.tiles is not None
            bag = cases.tiles.bag(patient)
            try:
                features, coords = arrange(bag, patient)
            except PathomixError as error:
                log.warning("%s", error)
                continue
            kept.append(row)
            self.features.append(torch.from_numpy(features.astype(np.float16)))
            self.coords.append(torch.from_numpy(coords.astype(np.int32)))
        self.rows = np.array(kept, dtype=np.int64)
        self.ids = cases.ids[self.rows]

    def scaling(self) -> TileScaling:
        """Statistics over these patients."""
        note_fitted("scaler", self.ids)
        means = torch.stack([bag.double().mean(dim=0) for bag in self.features])
        squares = torch.stack([bag.double().square().mean(dim=0) for bag in self.features])
        mean = means.mean(dim=0)
        sd = (squares.mean(dim=0) - mean.square()).clamp(min=0).sqrt()
        return TileScaling(mean.float(), torch.where(sd > 1e-6, sd, 1.0).float())
