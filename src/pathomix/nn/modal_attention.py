"""Attention and feed-forward layers of the Modal Adapter (ModalTune 2.2, 2.3), under its official parameter names."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

NormPlace = Literal["pre", "post"]


class DropPath(nn.Module):
    """Leaves a residual branch out with probability `rate`, per sample, in training; the rest is scaled up."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, branch: Tensor) -> Tensor:
        """`branch` [B, ...] with some samples set to zero."""
        if not self.training or self.rate == 0.0:
            return branch
        shape = (len(branch),) + (1,) * (branch.dim() - 1)
        return branch * branch.new_empty(shape).bernoulli_(1.0 - self.rate) / (1.0 - self.rate)


def placed(tokens: Tensor, position: Tensor | None) -> Tensor:
    """Tokens with their positions added."""
    return tokens if position is None else tokens + position


class _Bottleneck(nn.Module):
    """What cross- and self-attention share: a narrow query path around torch's multi-head attention.

    With a `ratio` the query is projected to int(width * ratio) before attention and the result back; keys and values
    go from `width` straight to the narrow heads. Without one (None) there is no such pair of layers.
    """

    def __init__(self, width: int, heads: int, ratio: float | None, norm: NormPlace) -> None:
        super().__init__()
        self.norm_place = norm
        self.narrow = width if ratio is None else int(width * ratio)
        self.q_proj = nn.Identity() if ratio is None else nn.Linear(width, self.narrow)
        self.output_proj = nn.Identity() if ratio is None else nn.Linear(self.narrow, width)
        self.norm = nn.LayerNorm(width)
        self._width, self._heads = width, heads

    def _heads_layer(self) -> nn.MultiheadAttention:
        return nn.MultiheadAttention(self.narrow, self._heads, kdim=self._width, vdim=self._width, batch_first=True)


class CrossAttention(_Bottleneck):
    """Attention of a query sequence to a memory sequence.

    ``pre``: R(q, m) = q + A(q, m), both sequences normalised inside A. ``post``: LN(q + A(q, m)).

    Args:
        width: d, of both sequences.
        heads: Attention heads.
        ratio: Bottleneck, see `_Bottleneck`.
        norm: Where the norms are; the released model has ``pre``.
    """

    def __init__(self, width: int, heads: int, ratio: float | None = 0.25, norm: NormPlace = "pre") -> None:
        super().__init__(width, heads, ratio, norm)
        self.multihead_attn = self._heads_layer()
        if norm == "pre":
            self.norm_kq = nn.LayerNorm(width)

    def _inputs(
        self, query: Tensor, memory: Tensor, query_position: Tensor | None, memory_position: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        if self.norm_place == "pre":
            query, memory = self.norm(query), self.norm_kq(memory)
        return self.q_proj(placed(query, query_position)), placed(memory, memory_position)

    def attend(
        self,
        query: Tensor,
        memory: Tensor,
        query_position: Tensor | None = None,
        memory_position: Tensor | None = None,
    ) -> Tensor:
        """A(q, m) [B, Q, d], without residual; memory positions are added to keys and values."""
        narrow, keys = self._inputs(query, memory, query_position, memory_position)
        return self.output_proj(self.multihead_attn(narrow, keys, keys, need_weights=False)[0])

    @torch.no_grad()
    def weights(
        self,
        query: Tensor,
        memory: Tensor,
        query_position: Tensor | None = None,
        memory_position: Tensor | None = None,
    ) -> Tensor:
        """Attention weights [B, Q, M], mean over heads; memory O(heads * Q * M), for explanations only."""
        narrow, keys = self._inputs(query, memory, query_position, memory_position)
        return self.multihead_attn(narrow, keys, keys, need_weights=True)[1]

    def forward(
        self,
        query: Tensor,
        memory: Tensor,
        query_position: Tensor | None = None,
        memory_position: Tensor | None = None,
    ) -> Tensor:
        """Query with its residual, [B, Q, d].

        Args:
            query: [B, Q, d].
            memory: [B, M, d].
            query_position: [Q, d].
            memory_position: [M, d].
        """
        attended = query + self.attend(query, memory, query_position, memory_position)
        return attended if self.norm_place == "pre" else self.norm(attended)


class SelfAttention(_Bottleneck):
    """Attention among prompt tokens with one residual; positions on query and key, not on the value.

    Args:
        width: d.
        heads: Attention heads.
        ratio: Bottleneck, see `_Bottleneck`.
        norm: Where the norm is; the released model has ``pre``.
    """

    def __init__(self, width: int, heads: int, ratio: float | None = 0.25, norm: NormPlace = "pre") -> None:
        super().__init__(width, heads, ratio, norm)
        self.self_attn = self._heads_layer()

    def forward(self, tokens: Tensor, position: Tensor | None = None) -> Tensor:
        """Tokens [B, P, d] after attention; `position` [P, d]."""
        values = self.norm(tokens) if self.norm_place == "pre" else tokens
        keys = placed(values, position)
        attended = self.self_attn(self.q_proj(keys), keys, values, need_weights=False)[0]
        result = tokens + self.output_proj(attended)
        return result if self.norm_place == "pre" else self.norm(result)


class FeedForward(nn.Module):
    """Linear, ReLU, Linear. ``pre``: FFN(LN(x)), without residual. ``post``: LN(x + FFN(x)).

    Args:
        width: d.
        ratio: Hidden width is int(width * ratio).
        norm: Where the norm is.
    """

    def __init__(self, width: int, ratio: float = 0.25, norm: NormPlace = "pre") -> None:
        super().__init__()
        self.norm_place = norm
        self.linear1 = nn.Linear(width, int(width * ratio))
        self.linear2 = nn.Linear(int(width * ratio), width)
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, P, d] to [B, P, d]."""
        if self.norm_place == "pre":
            return self.linear2(torch.relu(self.linear1(self.norm(tokens))))
        return self.norm(tokens + self.linear2(torch.relu(self.linear1(tokens))))
