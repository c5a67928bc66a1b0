"""Networks on feature blocks: what MLP, S-MLP and SNN share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from pathomix.cohort.cases import Cases
from pathomix.core.parameters import choice
from pathomix.methods.base import Task
from pathomix.methods.blocks import BLOCKS
from pathomix.methods.heads import Head
from pathomix.methods.molecular import BlockVector
from pathomix.methods.network import Forward, NetworkMethod, Reader
from pathomix.methods.training_settings import TrainingSettings


@dataclass(frozen=True, kw_only=True)
class NetworkSettings(TrainingSettings):
    """Parameters common to the networks on feature blocks.

    Attributes:
        blocks: Feature blocks.
        clip: Largest absolute z-score (RNA z-scores of public tables have outliers in the thousands); None = unlimited.
    """

    blocks: tuple[str, ...]
    clip: float | None = 5.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for block in self.blocks:
            choice(block, BLOCKS, "blocks")


class TabularNetwork(NetworkMethod):
    """Fits a network on feature blocks; subclasses build it."""

    modality = "the feature blocks"

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__(settings)
        self.blocks, self.clip = settings.blocks, settings.clip

    def molecular(self, train: Cases) -> BlockVector:
        """See `NetworkMethod.molecular`."""
        return BlockVector.fit(train, self.blocks, self.clip)

    @abstractmethod
    def network(self, inputs: int, head: Head, task: Task) -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
        """The network, and the function from rows [n, inputs] to outputs [n, head.outputs]."""

    def build(self, reader: Reader, tile_dim: int, head: Head, task: Task) -> tuple[nn.Module, Forward]:
        """See `NetworkMethod.build`."""
        assert reader.molecular is not None
        network, forward = self.network(sum(reader.molecular.sizes), head, task)
        return network, lambda batch: forward(batch.molecular)
