"""CLAM: attention pooling whose attention is also trained on the tiles it points to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

import pandas as pd
import torch
from torch import Tensor, nn

from pathomix.cohort.cases import Cases
from pathomix.core.errors import PathomixError
from pathomix.core.parameters import choice, filled
from pathomix.methods.base import Task
from pathomix.methods.heads import ClassHead, Head, Rows
from pathomix.methods.network import Batch, Forward, Reader
from pathomix.methods.slide_network import TileNetwork, TileSettings
from pathomix.nn.clam import CLAM, Branches, instance_loss


@dataclass(frozen=True, kw_only=True)
class Settings(TileSettings):
    """Parameters of the row; the defaults are the published ones, the instance loss is cross-entropy.

    Attributes:
        branches: ``sb``: one attention for all classes; ``mb``: one per class (in survival per output).
        gated: Whether attention is gated.
        width: Tile embedding width.
        attention: Width of the attention layer.
        k_sample: Tiles at either end of the attention that train an instance classifier.
        bag_weight: Weight of the bag's loss, the rest is that of the instances. Subtype only: an outcome in time is
            no class that tiles could be evidence of, so in survival attention is trained by the bag alone.
        subtyping: Whether classes exclude each other, so that what another class looks at is evidence against it.
    """

    branches: Branches = "sb"
    gated: bool = True
    width: int = 512
    attention: int = 256
    k_sample: int = 8
    bag_weight: float = 0.7
    subtyping: bool = True
    survival_loss: str = "nll"
    epochs: int = 20
    constant_epochs: int | None = None
    learning_rate: float = 2e-4
    l2: float = 1e-5

    def __post_init__(self) -> None:
        super().__post_init__()
        choice(self.branches, get_args(Branches), "branches")
        if self.k_sample < 1 or not 0 < self.bag_weight <= 1:
            raise PathomixError(
                f"clam: k_sample is {self.k_sample}, bag_weight {self.bag_weight}",
                remedy="set k_sample to at least 1 and bag_weight above 0, at most 1",
            )


class InstanceHead:
    """Classes with an instance loss: in training the network hands over instance losses behind the logits."""

    def __init__(self, inner: ClassHead, bag_weight: float, subtyping: bool) -> None:
        self.inner, self.bag_weight, self.subtyping = inner, bag_weight, subtyping
        self.outputs = inner.outputs

    def loss(self, outputs: Tensor, rows: Rows) -> Tensor | None:
        """Weighted sum of the losses of bags and instances."""
        logits, inside, outside = outputs.chunk(3, dim=1)
        bags = self.inner.loss(logits, rows)
        if bags is None:
            return None
        instances = instance_loss(inside, outside, self.inner.label[rows], self.subtyping).mean()
        return self.bag_weight * bags + (1.0 - self.bag_weight) * instances

    def score(self, outputs: Tensor, cases: Cases) -> float:
        """See `ClassHead.score`."""
        return self.inner.score(outputs, cases)

    def frame(self, outputs: Tensor, index: pd.Index) -> pd.DataFrame:
        """See `ClassHead.frame`."""
        return self.inner.frame(outputs, index)


class CLAMMethod(TileNetwork):
    """Images alone."""

    name = "clam"

    def __init__(self, **parameters: Any) -> None:
        self.parameters = filled(Settings, parameters, "clam")
        super().__init__(self.parameters)

    def head(self, part: Cases, task: Task) -> Head:
        """See `NetworkMethod.head`."""
        own, inner = self.parameters, super().head(part, task)
        return InstanceHead(inner, own.bag_weight, own.subtyping) if isinstance(inner, ClassHead) else inner

    def build(self, reader: Reader, tile_dim: int, head: Head, task: Task) -> tuple[nn.Module, Forward]:
        """See `NetworkMethod.build`."""
        own = self.parameters
        network = CLAM(
            tile_dim, own.width, own.attention, head.outputs, branches=own.branches, gated=own.gated,
            dropout=own.dropout,
        )  # fmt: skip

        def forward(batch: Batch) -> Tensor:
            output = network(*batch.joined())
            if task == "survival" or not network.training:
                return output.logits
            losses = network.instance_losses(output, [len(bag) for bag in batch.tiles], own.k_sample)
            return torch.cat([output.logits, *losses], dim=1)

        return network, forward
