"""Multi-layer perceptrons: self-normalising (S-MLP) and plain (MLP)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from pathomix.nn.snn import self_normalising_block


class SelfNormalisingMLP(nn.Module):
    """Linear-ELU-AlphaDropout layers and a linear head (ModalTune section 7: S-MLP "small" = [256, 256], 0.25).

    Args:
        input_dim: Features per patient.
        hidden: Widths of the layers.
        label_dim: Outputs.
        dropout: AlphaDropout probability.
    """

    def __init__(
        self, input_dim: int, hidden: Sequence[int] = (256, 256), label_dim: int = 1, dropout: float = 0.25
    ) -> None:
        super().__init__()
        widths = [input_dim, *hidden]
        self.encoder = nn.Sequential(*(self_normalising_block(a, b, dropout) for a, b in pairwise(widths)))
        self.head = nn.Linear(widths[-1], label_dim)

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs [n, label_dim] of `inputs` [n, input_dim]."""
        return self.head(self.encoder(inputs))


class PlainMLP(nn.Module):
    """Linear-ReLU-Dropout layers and a linear head (ModalTune section 7: MLP = [256, 256], 0.1).

    Args:
        input_dim: Features per patient.
        hidden: Widths of the layers.
        label_dim: Outputs.
        dropout: Dropout probability.
    """

    def __init__(
        self, input_dim: int, hidden: Sequence[int] = (256, 256), label_dim: int = 1, dropout: float = 0.1
    ) -> None:
        super().__init__()
        widths = [input_dim, *hidden]
        layers = (nn.Sequential(nn.Linear(a, b), nn.ReLU(), nn.Dropout(dropout)) for a, b in pairwise(widths))
        self.encoder = nn.Sequential(*layers)
        self.head = nn.Linear(widths[-1], label_dim)

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs [n, label_dim] of `inputs` [n, input_dim]."""
        return self.head(self.encoder(inputs))
