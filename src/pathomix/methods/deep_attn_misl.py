"""DeepAttnMISL: attention over the phenotype clusters of a patient's tiles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from pathomix.cohort.cases import Cases
from pathomix.core.errors import PathomixError
from pathomix.core.parameters import filled
from pathomix.methods.base import Task
from pathomix.methods.clusters import nearest, tile_clusters
from pathomix.methods.heads import Head
from pathomix.methods.network import Batch, Forward, Inputs, Reader
from pathomix.methods.slide_network import SlideNetwork, SlideSettings
from pathomix.nn.deep_attn_misl import DeepAttnMISL


@dataclass(frozen=True, kw_only=True)
class Settings(SlideSettings):
    """Parameters of the row; architecture as in the MCAT repository, loss and optimisation as of MCAT.

    Attributes:
        clusters: Clusters of tiles, by k-means over the training patients; a patient need not have all of them.
        width: Tile embedding width.
        attention: Width of the attention layer.
        pooled: Width after pooling.
    """

    clusters: int = 10
    width: int = 512
    attention: int = 256
    pooled: int = 256
    survival_loss: str = "nll"
    epochs: int = 20
    constant_epochs: int | None = None
    learning_rate: float = 2e-4
    l2: float = 1e-5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.clusters < 1:
            raise PathomixError(f"deep_attn_misl: clusters is {self.clusters}", remedy="set it to at least 1")


@dataclass(frozen=True)
class ClusterReader(Reader):
    """A reader that knows the clusters; `centres`: [clusters, dim], of scaled tiles."""

    centres: Tensor

    def state(self) -> dict[str, NDArray[np.generic]]:
        """See `Reader.state`, and the centres."""
        return {**super().state(), "tile_clusters": self.centres.numpy()}


class DeepAttnMISLMethod(SlideNetwork):
    """Each tile goes through the network of its cluster; means of the clusters are attended to."""

    name = "deep_attn_misl"

    def __init__(self, **parameters: Any) -> None:
        self.parameters = filled(Settings, parameters, "deep_attn_misl")
        super().__init__(self.parameters)

    def read_training(self, train: Cases, seed: int) -> tuple[Reader, Inputs]:
        """See `NetworkMethod.read_training`; the clusters are those of the tiles read."""
        reader, inputs = super().read_training(train, seed)
        assert inputs.bags is not None
        assert inputs.scaling is not None
        centres = tile_clusters(inputs.bags, inputs.scaling, self.parameters.clusters, seed)
        return ClusterReader(reader.molecular, reader.arrange, reader.scaling, reader.device, centres), inputs

    def build(self, reader: Reader, tile_dim: int, head: Head, task: Task) -> tuple[nn.Module, Forward]:
        """See `NetworkMethod.build`."""
        assert isinstance(reader, ClusterReader)
        own = self.parameters
        omic_dim = sum(reader.molecular.sizes) if reader.molecular else 0
        network = DeepAttnMISL(
            tile_dim, own.clusters, own.width, own.attention, own.pooled, head.outputs, omic_dim=omic_dim,
            omic_hidden=own.omic_hidden, dropout=own.dropout,
        )  # fmt: skip
        centres = reader.centres.to(self.device)

        def forward(batch: Batch) -> Tensor:
            tiles, owner, patients = batch.joined()
            omic = batch.molecular if omic_dim else None
            return network(tiles, nearest(tiles, centres), owner, patients, omic).logits

        return network, forward
