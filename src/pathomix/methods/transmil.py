"""TransMIL: landmark attention and convolutional positions over the tiles of a patient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

from torch import nn

from pathomix.core.parameters import check_heads, choice, filled
from pathomix.methods.base import Task
from pathomix.methods.heads import Head
from pathomix.methods.network import Forward, Reader, by_size
from pathomix.methods.slide_network import SlideNetwork, SlideSettings
from pathomix.nn.nystrom import KeptRows
from pathomix.nn.transmil import TransMIL


@dataclass(frozen=True, kw_only=True)
class Settings(SlideSettings):
    """Parameters of the row; the defaults are the published ones, with the loss of MCAT (ModalTune section 7).

    Attributes:
        width: Token width; landmarks are half of it.
        heads: Of the attention; they share the width.
        kept: ``last``, or ``first``: the attention with the shift of the package version that TransMIL pins
            (`nn.nystrom.NystromAttention`).
        attention_dropout: After the attention; `dropout` is that of the concatenated feature blocks.
    """

    width: int = 512
    heads: int = 8
    kept: KeptRows = "last"
    attention_dropout: float = 0.1
    survival_loss: str = "nll"
    epochs: int = 20
    constant_epochs: int | None = None
    learning_rate: float = 2e-4
    l2: float = 1e-5

    def __post_init__(self) -> None:
        super().__post_init__()
        choice(self.kept, get_args(KeptRows), "kept")
        check_heads(self.width, self.heads, "transmil")


class TransMILMethod(SlideNetwork):
    """Tiles laid out as a square in the order they were read; the class token is the slide vector."""

    name = "transmil"
    tiles_at_once = 8192

    def __init__(self, **parameters: Any) -> None:
        self.parameters = filled(Settings, parameters, "transmil")
        super().__init__(self.parameters)

    def build(self, reader: Reader, tile_dim: int, head: Head, task: Task) -> tuple[nn.Module, Forward]:
        """See `NetworkMethod.build`."""
        own = self.parameters
        network = TransMIL(
            tile_dim,
            own.width,
            head.outputs,
            heads=own.heads,
            dim_head=own.width // own.heads,
            dropout=own.attention_dropout,
            kept=own.kept,
            omic_dim=sum(reader.molecular.sizes) if reader.molecular else 0,
            omic_hidden=own.omic_hidden,
            omic_dropout=own.dropout,
        )
        return network, lambda batch: by_size(batch, lambda tiles, coords, omic: network(tiles, omic))
