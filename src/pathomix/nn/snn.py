"""The genomic network of Pathomic Fusion, under its official parameter names."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

Activation = Literal["none", "Sigmoid", "Tanh", "ReLU", "LSM"]


def self_normalising_block(inputs: int, outputs: int, dropout: float) -> nn.Sequential:
    """Linear, ELU, AlphaDropout."""
    return nn.Sequential(nn.Linear(inputs, outputs), nn.ELU(), nn.AlphaDropout(p=dropout))


def init_max(module: nn.Module) -> None:
    """Linear weights N(0, 1/fan_in), biases 0 (Path-GPTomic section 1.1)."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, 0.0, layer.in_features**-0.5)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


class PathomicSNN(nn.Module):
    """Four self-normalising layers and a linear head.

    Args:
        input_dim: Features per patient.
        hidden: Widths of the encoder, the last one the feature width (official: 64, 48, 32, 32).
        label_dim: Outputs: 1 log hazard, or classes.
        act: Output activation; ``Sigmoid`` is rescaled by `output_range` and `output_shift` (6, -3: into [-3, 3]),
            ``LSM`` is the log-softmax of the grading network.
        dropout: AlphaDropout probability.
    """

    def __init__(
        self,
        input_dim: int,
        hidden: Sequence[int] = (64, 48, 32, 32),
        label_dim: int = 1,
        act: Activation = "none",
        dropout: float = 0.25,
    ) -> None:
        super().__init__()
        widths = [input_dim, *hidden]
        self.encoder = nn.Sequential(*(self_normalising_block(a, b, dropout) for a, b in pairwise(widths)))
        self.classifier = nn.Sequential(nn.Linear(widths[-1], label_dim))
        self.act = act
        self.output_range = nn.Parameter(torch.tensor([6.0]), requires_grad=False)
        self.output_shift = nn.Parameter(torch.tensor([-3.0]), requires_grad=False)

    def forward(self, omic: Tensor) -> tuple[Tensor, Tensor]:
        """Features [n, hidden[-1]] and outputs [n, label_dim] of `omic` [n, input_dim]."""
        features = self.encoder(omic)
        outputs = self.classifier(features)
        if self.act == "Sigmoid":
            outputs = torch.sigmoid(outputs) * self.output_range + self.output_shift
        elif self.act == "LSM":
            outputs = torch.log_softmax(outputs, dim=1)
        elif self.act != "none":
            outputs = getattr(torch, self.act.lower())(outputs)
        return features, outputs
