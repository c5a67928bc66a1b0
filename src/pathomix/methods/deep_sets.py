"""Deep Sets: the embedded tiles of a patient added up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

from torch import nn

from pathomix.core.parameters import choice, filled
from pathomix.methods.base import Task
from pathomix.methods.heads import Head
from pathomix.methods.network import Forward, Reader
from pathomix.methods.slide_network import SlideNetwork, SlideSettings
from pathomix.nn.deep_sets import DeepSets, Pooling


@dataclass(frozen=True, kw_only=True)
class Settings(SlideSettings):
    """Parameters of the row; architecture as in the MCAT repository, loss and optimisation as of MCAT.

    Attributes:
        width: Tile embedding width.
        pooled: Width after pooling.
        pooling: ``sum`` (the reference: the size of a bag shows in the result) or ``mean``.
    """

    width: int = 512
    pooled: int = 256
    pooling: Pooling = "sum"
    survival_loss: str = "nll"
    epochs: int = 20
    constant_epochs: int | None = None
    learning_rate: float = 2e-4
    l2: float = 1e-5

    def __post_init__(self) -> None:
        super().__post_init__()
        choice(self.pooling, get_args(Pooling), "pooling")


class DeepSetsMethod(SlideNetwork):
    """Tile features embedded, added up, one more layer."""

    name = "deep_sets"

    def __init__(self, **parameters: Any) -> None:
        self.parameters = filled(Settings, parameters, "deep_sets")
        super().__init__(self.parameters)

    def build(self, reader: Reader, tile_dim: int, head: Head, task: Task) -> tuple[nn.Module, Forward]:
        """See `NetworkMethod.build`."""
        own = self.parameters
        omic_dim = sum(reader.molecular.sizes) if reader.molecular else 0
        network = DeepSets(
            tile_dim, own.width, own.pooled, head.outputs, pooling=own.pooling, omic_dim=omic_dim,
            omic_hidden=own.omic_hidden, dropout=own.dropout,
        )  # fmt: skip
        return network, lambda batch: network(*batch.joined(), batch.molecular if omic_dim else None)
