"""ABMIL: gated attention over the tiles of a patient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from pathomix.core.parameters import filled
from pathomix.methods.base import Task
from pathomix.methods.heads import Head
from pathomix.methods.network import Batch, Forward, Reader
from pathomix.methods.slide_network import SlideNetwork, SlideSettings
from pathomix.nn.abmil import ABMIL


@dataclass(frozen=True, kw_only=True)
class Settings(SlideSettings):
    """Parameters of the row.

    Attributes:
        width: Tile embedding width.
        attention: Width of the attention layer.
        pooled: Width after pooling.
    """

    width: int = 128
    attention: int = 64
    pooled: int = 64
    max_tiles: int = 1024
    patience: int = 8
    epochs: int = 20
    l2: float = 1e-4


class ABMILMethod(SlideNetwork):
    """Tile features embedded, attended to and pooled."""

    name = "abmil"

    def __init__(self, **parameters: Any) -> None:
        self.parameters = filled(Settings, parameters, "abmil")
        super().__init__(self.parameters)

    def build(self, reader: Reader, tile_dim: int, head: Head, task: Task) -> tuple[nn.Module, Forward]:
        """See `NetworkMethod.build`."""
        own = self.parameters
        omic_dim = sum(reader.molecular.sizes) if reader.molecular else 0
        network = ABMIL(
            tile_dim, own.width, own.attention, own.pooled, head.outputs, omic_dim, own.omic_hidden, own.dropout
        )

        def forward(batch: Batch) -> Tensor:
            return network(*batch.joined(), batch.molecular if omic_dim else None).logits

        return network, forward
