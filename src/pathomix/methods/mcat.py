"""MCAT: gene groups attend to tiles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

from torch import nn

from pathomix.core.parameters import check_heads, choice, filled
from pathomix.methods.base import Task
from pathomix.methods.heads import Head
from pathomix.methods.network import Forward, Reader
from pathomix.methods.pathway_attention import PathwayAttention, PathwayAttentionSettings
from pathomix.nn.mcat import MCAT, MCATFusion


@dataclass(frozen=True, kw_only=True)
class Settings(PathwayAttentionSettings):
    """Parameters of the row; the defaults are the published ones (ModalTune section 7).

    Attributes:
        fusion: concat or bilinear.
        heads: Of the transformers over the groups.
    """

    fusion: MCATFusion = "concat"
    heads: int = 8
    learning_rate: float = 2e-4
    l2: float = 1e-5

    def __post_init__(self) -> None:
        super().__post_init__()
        choice(self.fusion, get_args(MCATFusion), "fusion")
        check_heads(self.width, self.heads, "mcat")


class MCATMethod(PathwayAttention):
    """One group of genes per pathway of the cohort."""

    name = "mcat"

    def __init__(self, **parameters: Any) -> None:
        self.parameters = filled(Settings, parameters, "mcat")
        super().__init__(self.parameters)

    def build(self, reader: Reader, tile_dim: int, head: Head, task: Task) -> tuple[nn.Module, Forward]:
        """See `NetworkMethod.build`."""
        assert reader.molecular is not None
        own = self.parameters
        network = MCAT(
            tile_dim,
            reader.molecular.sizes,
            own.width,
            attention=own.width,
            feed_forward=2 * own.width,
            classes=head.outputs,
            fusion=own.fusion,
            heads=own.heads,
            dropout=own.dropout,
        )
        return network, lambda batch: network(batch.tiles, batch.molecular).logits
