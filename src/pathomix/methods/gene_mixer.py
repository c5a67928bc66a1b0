"""Gene Mixer: ModalTune's gene encoder as a method of its own (ModalTune sections 3.3 and 7)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from pathomix.cohort.cases import Cases
from pathomix.core.parameters import filled
from pathomix.methods.base import Task
from pathomix.methods.heads import Head
from pathomix.methods.molecular import PathwayVectors
from pathomix.methods.network import Forward, NetworkMethod, Reader
from pathomix.methods.training_settings import TrainingSettings
from pathomix.nn.gene_mixer import GeneMixer


@dataclass(frozen=True, kw_only=True)
class Settings(TrainingSettings):
    """Parameters of the row; architecture as published, training as of the other gene networks (none is published).

    Attributes:
        clip: Largest absolute z-score of expression; None = unlimited.
        width: Width of the gene tokens.
        latent: Width of pathway networks and mixer.
        depth: Mixer blocks.
        expansion_tokens: Hidden size of token mixing as a multiple of the pathways.
        expansion_channels: Hidden size of channel mixing as a multiple of `latent`.
        tokens: Gene tokens after compression.
    """

    clip: float | None = 5.0
    width: int = 768
    latent: int = 256
    depth: int = 3
    expansion_tokens: float = 0.5
    expansion_channels: float = 0.5
    tokens: int = 64
    survival_loss: str = "nll"
    batch_size: int = 32


class GeneMixerMethod(NetworkMethod):
    """Pathway networks, mixer, compression, mean over gene tokens, norm, linear head."""

    name = "gene_mixer"
    modality = "expression"

    def __init__(self, **parameters: Any) -> None:
        self.parameters = filled(Settings, parameters, "gene_mixer")
        super().__init__(self.parameters)

    def molecular(self, train: Cases) -> PathwayVectors:
        """See `NetworkMethod.molecular`."""
        return PathwayVectors.fit(train, self.parameters.clip)

    def build(self, reader: Reader, tile_dim: int, head: Head, task: Task) -> tuple[nn.Module, Forward]:
        """See `NetworkMethod.build`."""
        assert reader.molecular is not None
        own = self.parameters
        network = GeneMixer(
            reader.molecular.sizes, own.width, own.latent, own.depth, own.expansion_tokens, own.expansion_channels,
            own.dropout, tokens=own.tokens, classes=head.outputs,
        )  # fmt: skip
        return network, lambda batch: network.logits(batch.molecular)
