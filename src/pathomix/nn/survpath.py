"""SurvPath (Jaume et al. 2024): pathways and tiles in one attention without the tile-to-tile part. Official names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from pathomix.nn.pathway_networks import PathwayNetworks
from pathomix.nn.segments import segment_mean


class Scores(NamedTuple):
    """Scaled scores before the softmax: pathways on pathways [G, G], on tiles [G, n], tiles on pathways [n, G]."""

    pathways: Tensor
    pathways_on_tiles: Tensor
    tiles_on_pathways: Tensor


class _Attention(nn.Module):
    """One head: pathways attend to everything, tiles to pathways; neither output projection nor residual."""

    def __init__(self, width: int, head: int) -> None:
        super().__init__()
        self.to_qkv = nn.Linear(width, 3 * head, bias=False)

    def forward(self, pathways: Tensor, tiles: Tensor, sizes: Sequence[int]) -> tuple[Tensor, Tensor]:
        few, many = [], []
        # Axes of batch and head, without which the fused kernels are not used.
        parts = self.to_qkv(tiles)[None, None].split(list(sizes), dim=2)
        for pathway, part in zip(self.to_qkv(pathways)[:, None, None], parts, strict=True):
            query, key, value = pathway.chunk(3, dim=-1)
            tile_query, tile_key, tile_value = part.chunk(3, dim=-1)
            keys, values = torch.cat([key, tile_key], dim=2), torch.cat([value, tile_value], dim=2)
            few.append(scaled_dot_product_attention(query, keys, values)[0])
            many.append(scaled_dot_product_attention(tile_query, key, value)[0, 0])
        return torch.cat(few), torch.cat(many)

    def scores(self, pathways: Tensor, tiles: Tensor) -> Scores:
        query, key, _ = self.to_qkv(pathways).chunk(3, dim=-1)
        tile_query, tile_key, _ = self.to_qkv(tiles).chunk(3, dim=-1)
        scale = query.shape[-1] ** -0.5
        return Scores(query @ key.T * scale, query @ tile_key.T * scale, tile_query @ key.T * scale)


class _CrossAttender(nn.Module):
    def __init__(self, width: int, head: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attn = _Attention(width, head)

    def forward(self, pathways: Tensor, tiles: Tensor, sizes: Sequence[int]) -> tuple[Tensor, Tensor]:
        result: tuple[Tensor, Tensor] = self.attn(self.norm(pathways), self.norm(tiles), sizes)
        return result

    def scores(self, pathways: Tensor, tiles: Tensor) -> Scores:
        return self.attn.scores(self.norm(pathways), self.norm(tiles))


class FeedForward(nn.Module):
    """Pre-norm, without a residual."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.net = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Dropout(dropout), nn.Linear(width, width))

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens [..., width] to [..., width]."""
        result: Tensor = self.net(self.norm(tokens))
        return result


class SurvPath(nn.Module):
    """Pathway tokens and tiles through one cross-attention, the means of both side by side, a two-layer head.

    Args:
        input_dim: Tile feature width.
        sizes: Genes of each pathway.
        width: Token width; the attention has one head of half of it.
        hidden: Width of the first layer of the pathway networks.
        classes: Outputs.
        dropout: Dropout probability (AlphaDropout in the pathway networks).
    """

    def __init__(
        self,
        input_dim: int,
        sizes: Sequence[int],
        width: int = 256,
        hidden: int = 256,
        classes: int = 4,
        dropout: float = 0.25,
    ) -> None:
        super().__init__()
        head = width // 2
        self.sig_networks = PathwayNetworks(sizes, width, dropout, hidden).init_max()
        self.wsi_projection_net = nn.Sequential(nn.Linear(input_dim, width))
        self.cross_attender = _CrossAttender(width, head)
        self.feed_forward = FeedForward(head, dropout)
        self.layer_norm = nn.LayerNorm(head)
        self.to_logits = nn.Sequential(nn.Linear(width, width // 4), nn.ReLU(), nn.Linear(width // 4, classes))

    def forward(self, bags: Sequence[Tensor], genes: Tensor) -> Tensor:
        """Logits [B, classes]; arguments as of `joint_vectors`."""
        return self.to_logits(self.joint_vectors(bags, genes))

    def joint_vectors(self, bags: Sequence[Tensor], genes: Tensor) -> Tensor:
        """Mean pathway and mean tile token side by side [B, width].

        Args:
            bags: B times [n_b, input_dim], n_b >= 1.
            genes: [B, sum(sizes)], expression pathway by pathway.
        """
        sizes = [len(bag) for bag in bags]
        tiles = self.wsi_projection_net(torch.cat(list(bags)))
        few, many = self.cross_attender(self.sig_networks(genes), tiles, sizes)
        few, many = (self.layer_norm(self.feed_forward(tokens)) for tokens in (few, many))
        counts = torch.tensor(sizes, device=many.device)
        owner = torch.repeat_interleave(torch.arange(len(sizes), device=many.device), counts)
        return torch.cat([few.mean(dim=1), segment_mean(many, owner, len(sizes))], dim=1)

    def scores(self, bag: Tensor, genes: Tensor) -> Scores:
        """Attention of one patient: tiles [n, input_dim] and expression [1, sum(sizes)]."""
        return self.cross_attender.scores(self.sig_networks(genes)[0], self.wsi_projection_net(bag))
