"""TransMIL (Shao et al. 2021) under its official parameter names."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pathomix.nn.concatenation import Concatenation
from pathomix.nn.nystrom import KeptRows, NystromAttention


class _Layer(nn.Module):
    """Pre-norm residual attention."""

    def __init__(self, dim: int, attention: NystromAttention) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.attn = attention

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens + self.attn(self.norm(tokens))


class _PyramidPositions(nn.Module):
    """Depth-wise convolutions of sizes 7, 5 and 3 over the tiles laid out as a square; the class token is left out."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(dim, dim, 7, padding=3, groups=dim)
        self.proj1 = nn.Conv2d(dim, dim, 5, padding=2, groups=dim)
        self.proj2 = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)

    def forward(self, tokens: Tensor, side: int) -> Tensor:
        square = tokens[:, 1:].mT.reshape(len(tokens), -1, side, side)
        square = square + self.proj(square) + self.proj1(square) + self.proj2(square)
        return torch.cat([tokens[:, :1], square.flatten(2).mT], dim=1)


class Stages(NamedTuple):
    """Tokens [B, side^2 + 1, dim], class token first, after each part of the network."""

    layer1: Tensor
    positions: Tensor
    layer2: Tensor


class TransMIL(nn.Module):
    """Tile embedding, two layers of landmark attention with convolutional positions between them, class token.

    Args:
        input_dim: Tile feature width.
        dim: Token width.
        classes: Outputs.
        heads: Attention heads.
        dim_head: Width of a head; None: `dim` / 8.
        landmarks: Number of landmarks; None: `dim` / 2.
        iterations: Of the pseudo-inverse.
        kernel: Length of the convolution inside the attention.
        dropout: After the output projection of the attention.
        kept: See `nystrom.NystromAttention`; weights trained with one are wrong with the other.
        independent: Whether the bags of a batch leave each other alone; not so in the published package.
        omic_dim: Width of the molecular vector to concatenate with the class token; 0 = images alone.
        omic_hidden: Width of the molecular encoder.
        omic_dropout: AlphaDropout probability of the molecular encoder.
    """

    def __init__(
        self,
        input_dim: int,
        dim: int = 512,
        classes: int = 2,
        *,
        heads: int = 8,
        dim_head: int | None = None,
        landmarks: int | None = None,
        iterations: int = 6,
        kernel: int = 33,
        dropout: float = 0.1,
        kept: KeptRows = "last",
        independent: bool = True,
        omic_dim: int = 0,
        omic_hidden: int = 256,
        omic_dropout: float = 0.25,
    ) -> None:
        super().__init__()

        def layer() -> _Layer:
            attention = NystromAttention(
                dim, dim_head or dim // 8, heads, landmarks or dim // 2, iterations, kernel, dropout, kept, independent
            )
            return _Layer(dim, attention)

        self._fc1 = nn.Sequential(nn.Linear(input_dim, dim), nn.ReLU())
        self.cls_token = nn.Parameter(torch.randn(1, 1, dim))
        self.layer1, self.layer2 = layer(), layer()
        self.pos_layer = _PyramidPositions(dim)
        self.norm = nn.LayerNorm(dim)
        self.omic_dim = omic_dim
        if omic_dim:
            self.concatenation = Concatenation(dim, omic_dim, omic_hidden, omic_hidden, omic_dropout)
        self._fc2 = nn.Linear(omic_hidden if omic_dim else dim, classes)

    def stages(self, tiles: Tensor) -> Stages:
        """Tokens after layer 1, after the positions and after layer 2, of bags [B, n, input_dim] with n >= 1."""
        side = math.isqrt(tiles.shape[1] - 1) + 1
        hidden = self._fc1(tiles)
        hidden = torch.cat([hidden, hidden[:, : side * side - hidden.shape[1]]], dim=1)
        first = self.layer1(torch.cat([self.cls_token.expand(len(tiles), -1, -1), hidden], dim=1))
        positions = self.pos_layer(first, side)
        return Stages(first, positions, self.layer2(positions))

    def forward(self, tiles: Tensor, omic: Tensor | None = None) -> Tensor:
        """Logits [B, classes].

        Args:
            tiles: [B, n, input_dim].
            omic: [B, omic_dim] where the model was built with `omic_dim`.
        """
        slide = self.norm(self.stages(tiles).layer2[:, 0])
        if self.omic_dim and omic is not None:
            slide = self.concatenation(slide, omic)
        return self._fc2(slide)
