"""What adapters need of a slide-level foundation model: its front, its blocks one stretch at a time, its pooling."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor


class Tokens(NamedTuple):
    """Tokens of cases with equally many tiles.

    Attributes:
        cls: Class token [B, 1, d].
        tiles: Tile tokens [B, L, d], in the order in which the model attends to them.
        cells: Integer grid cell of each tile [B, L, 2]; models with a positional bias read it in every block.
    """

    cls: Tensor
    tiles: Tensor
    cells: Tensor


class Backbone(Protocol):
    """A slide encoder whose blocks can be interleaved with an adapter (spec slides_and_encoders 5, last row)."""

    width: int
    depth: int

    def prepare(self, features: Tensor, coords: Tensor) -> Tokens:
        """Project tile features [B, L, in_dim], add positions for `coords` [B, L, 2] (the encoder's own frame)."""
        ...

    def run_blocks(self, tokens: Tokens, first: int, last: int) -> Tokens:
        """Blocks `first` to `last`, both included, over class and tile tokens together."""
        ...

    def image_vector(self, tokens: Tokens, pooling: str) -> Tensor:
        """Image part of a fused vector [B, d]: `cls`, `mean`, or `model` (the model's own closing norm and pooler)."""
        ...
