"""MCAT (Chen et al. 2021): gene groups attend to tiles. Official parameter names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention

from pathomix.nn.abmil import GatedAttention
from pathomix.nn.concatenation import joint_layers
from pathomix.nn.pathway_networks import PathwayNetworks
from pathomix.nn.small_bilinear import SmallBilinearFusion

MCATFusion = Literal["concat", "bilinear"]


class CoAttention(nn.MultiheadAttention):
    """Attention of the gene groups of each patient to the tiles of that patient."""

    def forward(self, groups: Tensor, tiles: Tensor, sizes: Sequence[int]) -> Tensor:  # type: ignore[override]
        """Group tokens [B, G, width] that have looked at tiles.

        Args:
            groups: [B, G, width].
            tiles: [t, width], tiles of all patients one after the other.
            sizes: Tiles of each patient.
        """
        query = self._heads(0, groups)
        keys, values = (torch.split(self._heads(place, tiles), list(sizes), dim=1) for place in (1, 2))
        found = [
            scaled_dot_product_attention(one[None], key[None], value[None])
            for one, key, value in zip(query, keys, values, strict=True)
        ]
        result: Tensor = self.out_proj(torch.cat(found).transpose(1, 2).flatten(2))
        return result

    def scores(self, groups: Tensor, tiles: Tensor) -> Tensor:
        """Scaled scores before the softmax [heads, G, n] of one patient's groups [G, width] on tiles [n, width]."""
        query, key = self._heads(0, groups), self._heads(1, tiles)
        return query @ key.mT * query.shape[-1] ** -0.5

    def _heads(self, place: int, given: Tensor) -> Tensor:
        """Query (0), key (1) or value (2) projection, [..., heads, rows, width of a head]."""
        weight, bias = self.in_proj_weight.chunk(3)[place], self.in_proj_bias.chunk(3)[place]
        projected = linear(given, weight, bias)
        return projected.reshape(*projected.shape[:-1], self.num_heads, -1).transpose(-3, -2)


class MCATOutput(NamedTuple):
    """Logits [B, classes] and the scores of both gated poolings before the softmax [B, G]."""

    logits: Tensor
    path_attention: Tensor
    omic_attention: Tensor


class MCAT(nn.Module):
    """Group tokens attend to tiles; two transformers over the groups, gated pooling of each, one joint vector.

    Args:
        input_dim: Tile feature width.
        sizes: Genes of each group.
        width: Token width.
        attention: Width of the gated poolings.
        feed_forward: Hidden width of the transformers.
        classes: Outputs.
        fusion: ``concat`` or ``bilinear``.
        heads: Of the transformers.
        coattention_heads: Of the attention to tiles.
        layers: Of each transformer.
        reduction: Factor of the bilinear fusion.
        dropout: Dropout probability (AlphaDropout in the group networks).
    """

    def __init__(
        self,
        input_dim: int,
        sizes: Sequence[int],
        width: int = 256,
        attention: int = 256,
        feed_forward: int = 512,
        classes: int = 4,
        *,
        fusion: MCATFusion = "concat",
        heads: int = 8,
        coattention_heads: int = 1,
        layers: int = 2,
        reduction: int = 8,
        dropout: float = 0.25,
    ) -> None:
        super().__init__()

        def transformer() -> nn.TransformerEncoder:
            layer = nn.TransformerEncoderLayer(width, heads, feed_forward, dropout, "relu", batch_first=True)
            return nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)

        def pooled() -> nn.Sequential:
            return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Dropout(dropout))

        self.wsi_net = nn.Sequential(nn.Linear(input_dim, width), nn.ReLU(), nn.Dropout(dropout))
        self.sig_networks = PathwayNetworks(sizes, width, dropout).init_max()
        self.coattn = CoAttention(width, coattention_heads)
        self.path_transformer, self.omic_transformer = transformer(), transformer()
        self.path_attention_head = GatedAttention(width, attention, dropout)
        self.omic_attention_head = GatedAttention(width, attention, dropout)
        self.path_rho, self.omic_rho = pooled(), pooled()
        self.mm = (
            joint_layers(2 * width, width)
            if fusion == "concat"
            else SmallBilinearFusion(width, width, width, reduction, dropout)
        )
        self.fusion = fusion
        self.classifier = nn.Linear(width, classes)

    def forward(self, bags: Sequence[Tensor], genes: Tensor) -> MCATOutput:
        """Evaluate B patients.

        Args:
            bags: B times [n_b, input_dim], n_b >= 1.
            genes: [B, sum(sizes)], expression group by group.
        """
        omic = self.sig_networks(genes)
        path = self.coattn(omic, self.wsi_net(torch.cat(list(bags))), [len(bag) for bag in bags])
        path, path_scores = _pool(self.path_transformer(path), self.path_attention_head, self.path_rho)
        omic, omic_scores = _pool(self.omic_transformer(omic), self.omic_attention_head, self.omic_rho)
        joint = self.mm(torch.cat([path, omic], dim=1)) if self.fusion == "concat" else self.mm(path, omic)
        return MCATOutput(self.classifier(joint), path_scores, omic_scores)

    def coattention_scores(self, bag: Tensor, genes: Tensor) -> Tensor:
        """Scores [heads, G, n] of the groups of one patient ([1, sum(sizes)]) on its tiles [n, input_dim]."""
        return self.coattn.scores(self.sig_networks(genes)[0], self.wsi_net(bag))


def _pool(tokens: Tensor, head: GatedAttention, rho: nn.Module) -> tuple[Tensor, Tensor]:
    """Attention-weighted mean of tokens [B, G, width] after a last layer, and the scores [B, G]."""
    scores = head(tokens)
    return rho((torch.softmax(scores, dim=1)[:, :, None] * tokens).sum(dim=1)), scores
