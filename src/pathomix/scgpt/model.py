"""The scGPT encoder under its official parameter names (spec scgpt 2 and 3)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_LARGEST_VALUE = 512.0


@dataclass(frozen=True)
class Sizes:
    """Sizes of a model.

    Attributes:
        vocabulary: Rows of the token table.
        width: Of tokens and of the cell embedding (512 in the released models).
        heads: Attention heads.
        hidden: Width of the feed-forward layer.
        layers: Number of transformer layers.
        dropout: Probability while training.
    """

    vocabulary: int
    width: int
    heads: int
    hidden: int
    layers: int
    dropout: float = 0.0


class _GeneEncoder(nn.Module):
    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.enc_norm = nn.LayerNorm(width)

    def forward(self, genes: Tensor) -> Tensor:
        return self.enc_norm(self.embedding(genes))


class _ValueEncoder(nn.Module):
    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.linear1 = nn.Linear(1, width)
        self.linear2 = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, values: Tensor) -> Tensor:
        clamped = values.unsqueeze(-1).clamp(max=_LARGEST_VALUE)
        return self.dropout(self.norm(self.linear2(F.relu(self.linear1(clamped)))))


class _SelfAttention(nn.Module):
    """Rows of `Wqkv` are queries, keys, values, each with its heads one after the other."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.Wqkv = nn.Linear(width, 3 * width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, visible: Tensor | None, rows: int) -> Tensor:
        """Attended values [B, rows, width] of the first `rows` positions of x [B, L, width] over all positions."""
        width = x.shape[-1]
        weight, bias = self.Wqkv.weight, self.Wqkv.bias
        if rows == x.shape[1]:
            q, k, v = self.Wqkv(x).chunk(3, dim=-1)
        else:
            q = F.linear(x[:, :rows], weight[:width], bias[:width])
            k, v = F.linear(x, weight[width:], bias[width:]).chunk(2, dim=-1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (q, k, v))
        dropped = self.dropout if self.training else 0.0
        # Never holds the L x L scores of all heads, on any device: 19,000 tokens fit into memory.
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=visible, dropout_p=dropped)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))


class _Layer(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.self_attn = _SelfAttention(sizes.width, sizes.heads, sizes.dropout)
        self.linear1 = nn.Linear(sizes.width, sizes.hidden)
        self.linear2 = nn.Linear(sizes.hidden, sizes.width)
        self.norm1 = nn.LayerNorm(sizes.width)
        self.norm2 = nn.LayerNorm(sizes.width)
        self.dropout = nn.Dropout(sizes.dropout)

    def forward(self, x: Tensor, visible: Tensor | None, rows: int) -> Tensor:
        x = self.norm1(x[:, :rows] + self.dropout(self.self_attn(x, visible, rows)))
        hidden = self.dropout(F.relu(self.linear1(x)))
        return self.norm2(x + self.dropout(self.linear2(hidden)))


class _Layers(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_Layer(sizes) for _ in range(sizes.layers))


class ScGPT(nn.Module):
    """Gene and value terms summed, then post-norm transformer layers (ReLU, no positions, no final norm).

    Args:
        sizes: Of the model.
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.encoder = _GeneEncoder(sizes.vocabulary, sizes.width)
        self.value_encoder = _ValueEncoder(sizes.width, sizes.dropout)
        self.transformer_encoder = _Layers(sizes)

    def forward(self, genes: Tensor, values: Tensor, padding: Tensor | None = None) -> Tensor:
        """States of all positions.

        Args:
            genes: Token ids, int64 [B, L].
            values: Binned expression, float [B, L]; above 512 it counts as 512.
            padding: bool [B, L], True where a position is no token; None where all are.

        Returns:
            float [B, L, width]. States of padded positions mean nothing.
        """
        return self._states(genes, values, padding, genes.shape[1])

    def cells(self, genes: Tensor, values: Tensor, padding: Tensor | None = None) -> Tensor:
        """Cell embeddings [B, width]: the states of the first position; nothing else of the last layer is computed.

        Args:
            genes: As in `forward`.
            values: As in `forward`.
            padding: As in `forward`.
        """
        return self._states(genes, values, padding, 1)[:, 0]

    def _states(self, genes: Tensor, values: Tensor, padding: Tensor | None, rows: int) -> Tensor:
        """States of the first `rows` positions [B, rows, width]."""
        x = self.encoder(genes) + self.value_encoder(values)
        visible = None if padding is None else ~padding[:, None, None, :]
        *layers, last = self.transformer_encoder.layers
        for layer in layers:
            x = layer(x, visible, x.shape[1])
        states: Tensor = last(x, visible, rows)
        return states


def random_model(sizes: Sizes, seed: int) -> ScGPT:
    """A model with random weights of the sizes that keep signals alive; torch's own random stream is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ScGPT(sizes).eval()
