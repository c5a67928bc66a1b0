"""The perceptron that smooths expression embeddings, with the linear head it is trained by (Path-GPTomic 1.1)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

ACTIVATIONS: Mapping[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "elu": nn.ELU}


class Smoother(nn.Module):
    """MLP-A, in-128-128-128 with activation and dropout after all layers but the last, and a linear cell-type head.

    Args:
        input_dim: Width of the embeddings (512 of scGPT).
        classes: Cell types.
        hidden: Width of the two hidden layers.
        out_dim: Width of the smoothed vector.
        activation: Key of ACTIVATIONS.
        dropout: Probability while training.
    """

    def __init__(
        self,
        input_dim: int,
        classes: int,
        hidden: int = 128,
        out_dim: int = 128,
        activation: str = "relu",
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        act = ACTIVATIONS[activation]
        self.mlp = nn.Sequential(
            nn.Linear(input_dim, hidden), act(), nn.Dropout(dropout),
            nn.Linear(hidden, hidden), act(), nn.Dropout(dropout),
            nn.Linear(hidden, out_dim),
        )  # fmt: skip
        self.head = nn.Linear(out_dim, classes)
        self.mean: Tensor
        self.scale: Tensor
        self.register_buffer("mean", torch.zeros(input_dim))
        self.register_buffer("scale", torch.ones(input_dim))

    def standardise(self, embeddings: Tensor) -> None:
        """Z-score all inputs from now on by the mean and deviation of these embeddings [n, input_dim]."""
        values = embeddings.double()
        deviation = values.std(dim=0, correction=0)
        # A dimension that does not vary is only centred.
        tiny = 1e-6 * deviation.max()
        self.mean = values.mean(dim=0).float()
        self.scale = torch.where(deviation > tiny, deviation, torch.ones_like(deviation)).float()

    def forward(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """Smoothed vectors [n, out_dim] and outputs of the head [n, classes] of embeddings [n, input_dim]."""
        smoothed = self.mlp((embeddings - self.mean) / self.scale)
        return smoothed, self.head(smoothed)
