"""A slide encoder ready to use: the frozen model, what it is, and how cases are laid out for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pathomix.core.bags import Bag
from pathomix.foundation.gridding import sum_cells
from pathomix.foundation.layout import Arranged, Layout, arrange
from pathomix.foundation.parameters import SlideEncoderParameters
from pathomix.nn.backbone import Backbone


class SlideModel(Backbone, Protocol):
    """A backbone that also gives slide vectors of its own.

    Attributes:
        slide_ngrids: Position cells per axis; None where places act by a distance bias, without limit.
    """

    slide_ngrids: int | None

    @property
    def vector_names(self) -> tuple[str, ...]:
        """Vectors that `vectors` can give."""
        ...

    def vectors(self, features: Tensor, coords: Tensor, names: Sequence[str]) -> Mapping[str, Tensor]:
        """Named slide vectors [B, d] of features [B, L, in_dim] at coords [B, L, 2]."""
        ...


@dataclass(frozen=True)
class SlideEncoder:
    """A slide encoder.

    Attributes:
        parameters: What it is.
        in_dim: Tile feature width it reads.
        model: The frozen network, in evaluation mode: a `SlideModel` and an `nn.Module`.
        weights_sha256: Digest over names, types, shapes and values of its state dict.
    """

    parameters: SlideEncoderParameters
    in_dim: int
    model: nn.Module
    weights_sha256: str

    @property
    def backbone(self) -> SlideModel:
        """The model, as what runs it sees it."""
        return self.model  # type: ignore[return-value]

    def arrange(self, bag: Bag, case_id: str, layout: Layout, draw: int | None = None) -> Arranged:
        """Lay out one case for this encoder, see `layout.arrange`."""
        grid, tile = self.backbone.slide_ngrids, self.parameters.tile
        arranged = arrange(bag, case_id, layout, in_dim=self.in_dim, tile=tile, grid=grid, draw=draw)
        return sum_cells(arranged, case_id, tile) if layout.same_cell == "summed" and grid is None else arranged

    @torch.no_grad()
    def vectors(self, arranged: Arranged, names: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Slide vectors [d] of one case by name.

        Raises:
            PathomixError: Unknown names.
        """
        device = next(self.model.parameters()).device
        features = torch.from_numpy(arranged.features)[None].to(device)
        coords = torch.from_numpy(arranged.coords)[None].to(device)
        found = self.backbone.vectors(features, coords, names)
        return {name: vector[0].float().cpu().numpy() for name, vector in found.items()}
