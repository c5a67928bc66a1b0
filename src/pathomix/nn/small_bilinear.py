"""The bilinear fusion of the MCAT repository, a smaller cousin of that of Pathomic Fusion. Official names."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SmallBilinearFusion(nn.Module):
    """Both vectors reduced, gated by a linear layer over their concatenation, multiplied out with their ones.

    Args:
        first: Width of the first vector.
        second: Width of the second vector.
        width: Width of the result.
        reduction: Factor by which each vector is reduced first.
        dropout: Dropout probability.
    """

    def __init__(self, first: int, second: int, width: int, reduction: int = 8, dropout: float = 0.25) -> None:
        super().__init__()
        small1, small2 = first // reduction, second // reduction

        def rectified(inputs: int, outputs: int) -> nn.Sequential:
            return nn.Sequential(nn.Linear(inputs, outputs), nn.ReLU())

        def dropped(inputs: int, outputs: int) -> nn.Sequential:
            return nn.Sequential(nn.Linear(inputs, outputs), nn.ReLU(), nn.Dropout(dropout))

        self.linear_h1, self.linear_h2 = rectified(first, small1), rectified(second, small2)
        self.linear_z1 = nn.Sequential(nn.Linear(first + second, small1))
        self.linear_z2 = nn.Sequential(nn.Linear(first + second, small2))
        self.linear_o1, self.linear_o2 = dropped(small1, small1), dropped(small2, small2)
        self.post_fusion_dropout = nn.Dropout(dropout)
        self.encoder1 = dropped((small1 + 1) * (small2 + 1), width)
        self.encoder2 = dropped(width, width)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Joint vectors [n, width] of [n, first] and [n, second]."""
        both = torch.cat([first, second], dim=1)
        one = first.new_ones(len(first), 1)
        gated1 = self.linear_o1(torch.sigmoid(self.linear_z1(both)) * self.linear_h1(first))
        gated2 = self.linear_o2(torch.sigmoid(self.linear_z2(both)) * self.linear_h2(second))
        product = torch.cat([gated1, one], dim=1)[:, :, None] * torch.cat([gated2, one], dim=1)[:, None, :]
        return self.encoder2(self.encoder1(self.post_fusion_dropout(product.flatten(1))))
