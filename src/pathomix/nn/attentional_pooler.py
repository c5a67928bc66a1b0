"""Attentional pooler of CONCH v1.5 (spec slides_and_encoders 3.2). Parameter names of the released file."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention


class AttentionalPooler(nn.Module):
    """Learned queries attend to all tokens of another width.

    The queries are normalised at each call; scores are scaled by (width of a head)^-1/2; projections have no bias. The
    epsilon of the norms is not in the specification: torch's default, 1e-5.

    Args:
        width: Width of the queries and of the result.
        context: Width of the tokens.
        heads: Attention heads, a divisor of `width`.
        queries: Number of queries.
    """

    def __init__(self, width: int, context: int, heads: int, queries: int = 1) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Parameter(torch.randn(queries, width))
        self.ln_k = nn.LayerNorm(context)
        self.ln_q = nn.LayerNorm(width)
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_kv = nn.Linear(context, 2 * width, bias=False)
        self.to_out = nn.Linear(width, width, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Vectors [n, queries, width] of tokens [n, L, context]."""
        query = self.to_q(self.ln_q(self.query)).expand(len(tokens), -1, -1)
        key, value = self.to_kv(self.ln_k(tokens)).chunk(2, dim=-1)
        split = [part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (query, key, value)]
        mixed = scaled_dot_product_attention(*split)
        result: Tensor = self.to_out(mixed.transpose(1, 2).flatten(2))
        return result
