"""Slide vector and molecular vector side by side: the parts of the "(cat)" rows (ModalTune section 7)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pathomix.nn.snn import self_normalising_block


def molecular_encoder(inputs: int, hidden: int, dropout: float) -> nn.Sequential:
    """Two self-normalising layers, [n, inputs] to [n, hidden]."""
    return nn.Sequential(
        self_normalising_block(inputs, hidden, dropout), self_normalising_block(hidden, hidden, dropout)
    )


def joint_layers(inputs: int, width: int) -> nn.Sequential:
    """Two layers over concatenated vectors, [n, inputs] to [n, width]."""
    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())


class Concatenation(nn.Module):
    """A slide vector joined with an encoded molecular vector, reduced to `joint` dimensions.

    Args:
        slide: Width of the slide vector.
        omic_dim: Width of the molecular vector.
        omic_hidden: Width of its encoder.
        joint: Width of the result.
        dropout: AlphaDropout probability of the encoder.
    """

    def __init__(self, slide: int, omic_dim: int, omic_hidden: int, joint: int, dropout: float) -> None:
        super().__init__()
        self.fc_omic = molecular_encoder(omic_dim, omic_hidden, dropout)
        self.mm = joint_layers(slide + omic_hidden, joint)

    def forward(self, slide: Tensor, omic: Tensor) -> Tensor:
        """Joint vectors [n, joint] of slide vectors [n, slide] and molecular vectors [n, omic_dim]."""
        return self.mm(torch.cat([slide, self.fc_omic(omic)], dim=1))
