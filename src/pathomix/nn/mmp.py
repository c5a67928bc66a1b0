"""MMP (Song et al. 2024): pathway tokens and morphological prototypes in one attention. Official parameter names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from pathomix.nn.pathway_networks import PathwayNetworks
from pathomix.nn.survpath import FeedForward, Scores

AttentionMode = Literal["full", "survpath"]


class _Attention(nn.Module):
    """One head without output projection; pathways attend to everything, prototypes as the mode says."""

    def __init__(self, width: int, head: int, mode: AttentionMode) -> None:
        super().__init__()
        self.to_qkv = nn.Linear(width, 3 * head, bias=False)
        self.mode = mode

    def forward(self, tokens: Tensor, pathways: int) -> Tensor:
        query, key, value = self.to_qkv(tokens).chunk(3, dim=-1)
        # An axis of heads, without which the fused kernels are not used.
        few, many = (each[:, None] for each in query.split([pathways, query.shape[1] - pathways], dim=1))
        key, value = key[:, None], value[:, None]
        first = scaled_dot_product_attention(few, key, value)
        on_pathways = key[:, :, :pathways], value[:, :, :pathways]
        if self.mode == "survpath":
            second = scaled_dot_product_attention(many, *on_pathways)
        else:
            scores = many @ key.mT * key.shape[-1] ** -0.5
            # The reference applies the softmax to the scores on pathways twice: alone, and again with the raw others.
            mixed = torch.cat([torch.softmax(scores[..., :pathways], dim=-1), scores[..., pathways:]], dim=-1)
            second = torch.softmax(mixed, dim=-1) @ value
        return torch.cat([first, second], dim=2)[:, 0]

    def scores(self, tokens: Tensor, pathways: int) -> Scores:
        query, key, _ = self.to_qkv(tokens).chunk(3, dim=-1)
        scores = query @ key.mT * query.shape[-1] ** -0.5
        return Scores(scores[:, :pathways, :pathways], scores[:, :pathways, pathways:], scores[:, pathways:, :pathways])


class _CrossAttender(nn.Module):
    def __init__(self, width: int, head: int, mode: AttentionMode) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attn = _Attention(width, head, mode)

    def forward(self, tokens: Tensor, pathways: int) -> Tensor:
        result: Tensor = self.attn(self.norm(tokens), pathways)
        return result

    def scores(self, tokens: Tensor, pathways: int) -> Scores:
        return self.attn.scores(self.norm(tokens), pathways)


class MMP(nn.Module):
    """Pathway tokens and projected prototypes through one attention, the means of both side by side, linear head.

    Args:
        input_dim: Width of a prototype (2 d + 1 where it carries mean, deviation and share of its mixture component).
        sizes: Genes of each pathway.
        width: Token width; the attention has one head of half of it.
        hidden: Width of the first layer of the pathway networks.
        classes: Outputs; the head has no bias.
        mode: ``full``: prototypes attend to pathways and prototypes, the scores on pathways passing the softmax
            twice, as in the reference. ``survpath``: to pathways alone.
        dropout: Dropout probability (AlphaDropout in the pathway networks).
    """

    def __init__(
        self,
        input_dim: int,
        sizes: Sequence[int],
        width: int = 256,
        hidden: int = 256,
        classes: int = 4,
        mode: AttentionMode = "full",
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        head = width // 2
        self.sig_networks = PathwayNetworks(sizes, width, dropout, hidden).init_max()
        self.path_proj_net = nn.Sequential(nn.Linear(input_dim, width))
        self.coattn = nn.ModuleList([_CrossAttender(width, head, mode), FeedForward(head, dropout), nn.LayerNorm(head)])
        self.classifier = nn.Linear(width, classes, bias=False)

    def forward(self, prototypes: Tensor, genes: Tensor) -> Tensor:
        """Logits [B, classes].

        Args:
            prototypes: [B, P, input_dim], P >= 1.
            genes: [B, sum(sizes)], expression pathway by pathway.
        """
        tokens, pathways = self._tokens(prototypes, genes)
        attender, feed_forward, norm = self.coattn
        mixed = norm(feed_forward(attender(tokens, pathways)))
        joint = torch.cat([mixed[:, :pathways].mean(dim=1), mixed[:, pathways:].mean(dim=1)], dim=1)
        result: Tensor = self.classifier(joint)
        return result

    def scores(self, prototypes: Tensor, genes: Tensor) -> Scores:
        """Scaled scores before any softmax, each with a leading axis of patients."""
        attender = self.coattn[0]
        assert isinstance(attender, _CrossAttender)
        return attender.scores(*self._tokens(prototypes, genes))

    def _tokens(self, prototypes: Tensor, genes: Tensor) -> tuple[Tensor, int]:
        pathways = self.sig_networks(genes)
        return torch.cat([pathways, self.path_proj_net(prototypes)], dim=1), pathways.shape[1]
