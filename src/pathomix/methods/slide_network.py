"""What networks on tiles share: their parameters, and the optional concatenation with feature blocks."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from pathomix.cohort.cases import Cases
from pathomix.core.errors import PathomixError
from pathomix.core.parameters import choice
from pathomix.methods.bags import Arrange, thinned
from pathomix.methods.blocks import BLOCKS
from pathomix.methods.molecular import BlocksOrMean, Molecular
from pathomix.methods.network import NetworkMethod
from pathomix.methods.training_settings import TrainingSettings
from pathomix.training.precision import choose_device


@dataclass(frozen=True, kw_only=True)
class TileSettings(TrainingSettings):
    """Parameters common to the networks that read tiles.

    Attributes:
        max_tiles: Tiles read per patient; of a larger bag, evenly spaced ones (the same for every seed and fold).
        clip: Largest absolute z-score of molecular features; None = unlimited.
        device: cpu, cuda or auto (cuda where there is one).
    """

    max_tiles: int = 4096
    clip: float | None = 5.0
    device: str = "cpu"
    batch_size: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        choice(self.device, ("cpu", "cuda", "auto"), "device")
        if self.max_tiles < 1:
            raise PathomixError(f"max_tiles is {self.max_tiles}", remedy="set it to at least 1")


class TileNetwork(NetworkMethod):
    """Fits a network that reads tiles."""

    modality = "tile features"

    def __init__(self, settings: TileSettings) -> None:
        super().__init__(settings)
        self.tile_settings = settings

    def arrange(self, tile_dim: int) -> Arrange:
        """See `NetworkMethod.arrange`."""
        return thinned(self.tile_settings.max_tiles)

    @property
    def device(self) -> torch.device:
        """See `NetworkMethod.device`."""
        return choose_device(self.tile_settings.device)


@dataclass(frozen=True, kw_only=True)
class SlideSettings(TileSettings):
    """Parameters common to the networks of a slide vector.

    Attributes:
        blocks: Feature blocks whose encoded vector is concatenated with the slide vector, both trained together (the
            "(cat)" rows of ModalTune section 7); empty = images alone. Tiles are needed; a patient without any block
            is read with the means of the training patients, in training as in prediction.
        omic_hidden: Width of the encoder of the blocks (two layers as in S-MLP).
    """

    blocks: tuple[str, ...] = ()
    omic_hidden: int = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        for block in self.blocks:
            choice(block, BLOCKS, "blocks")


class SlideNetwork(TileNetwork):
    """Fits a network of a slide vector, alone or concatenated with feature blocks."""

    def __init__(self, settings: SlideSettings) -> None:
        super().__init__(settings)
        self.blocks = settings.blocks

    def molecular(self, train: Cases) -> Molecular | None:
        """See `NetworkMethod.molecular`."""
        return BlocksOrMean.fit(train, self.blocks, self.tile_settings.clip) if self.blocks else None
