"""SurvPath: pathways and tiles in one attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from pathomix.core.errors import PathomixError
from pathomix.core.parameters import filled
from pathomix.methods.base import Task
from pathomix.methods.heads import Head
from pathomix.methods.network import Forward, Reader
from pathomix.methods.pathway_attention import PathwayAttention, PathwayAttentionSettings
from pathomix.nn.survpath import SurvPath


@dataclass(frozen=True, kw_only=True)
class Settings(PathwayAttentionSettings):
    """Parameters of the row; the defaults are the published ones (ModalTune section 7).

    Learning rate and weight decay were chosen from a grid per cohort; these are a point within it.
    """

    alpha: float = 0.5
    optimiser: str = "radam"
    learning_rate: float = 5e-4
    l2: float = 1e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width < 4 or self.width % 4:
            raise PathomixError(f"survpath: width is {self.width}", remedy="set it to a multiple of 4")


class SurvPathMethod(PathwayAttention):
    """One token per pathway of the cohort."""

    name = "survpath"

    def __init__(self, **parameters: Any) -> None:
        self.parameters = filled(Settings, parameters, "survpath")
        super().__init__(self.parameters)

    def build(self, reader: Reader, tile_dim: int, head: Head, task: Task) -> tuple[nn.Module, Forward]:
        """See `NetworkMethod.build`."""
        assert reader.molecular is not None
        own = self.parameters
        network = SurvPath(
            tile_dim, reader.molecular.sizes, own.width, own.width, classes=head.outputs, dropout=own.dropout
        )
        return network, lambda batch: network(batch.tiles, batch.molecular)
