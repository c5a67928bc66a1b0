"""DeepAttnMISL (Yao et al. 2020): attention over clusters of tiles. Parameter names of the MCAT repository."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from pathomix.nn.abmil import GatedAttention
from pathomix.nn.joint_classifier import JointClassifier, JointFusion
from pathomix.nn.segments import segment_mean


class DeepAttnMISLOutput(NamedTuple):
    """Logits [bags, classes] and attention scores of the clusters before the softmax [bags, clusters]."""

    logits: Tensor
    attention: Tensor


class DeepAttnMISL(JointClassifier):
    """Tiles embedded by the network of their cluster, the mean of every cluster, gated attention over clusters.

    A cluster without tiles is a zero vector (not the network of zeros) and takes part in the attention.

    Args:
        input_dim: Tile feature width.
        clusters: Number of clusters, each with a network of its own.
        width: Tile embedding width.
        attention: Width of the attention layer.
        pooled: Width after pooling.
        classes: Outputs.
        omic_dim: Width of the molecular vector; 0 = images alone.
        omic_hidden: Width of the molecular encoder.
        dropout: Dropout probability.
        fusion: See `JointClassifier.add_classifier`.
        reduction: See there.
    """

    def __init__(
        self,
        input_dim: int,
        clusters: int = 10,
        width: int = 512,
        attention: int = 256,
        pooled: int = 256,
        classes: int = 4,
        *,
        omic_dim: int = 0,
        omic_hidden: int = 256,
        dropout: float = 0.25,
        fusion: JointFusion = "concat",
        reduction: int = 8,
    ) -> None:
        super().__init__()

        def layer(inputs: int, outputs: int) -> tuple[nn.Module, nn.Module, nn.Module]:
            return nn.Linear(inputs, outputs), nn.ReLU(), nn.Dropout(dropout)

        self.phis = nn.ModuleList(
            nn.Sequential(*layer(input_dim, width), *layer(width, width)) for _ in range(clusters)
        )
        self.attention_net = nn.Sequential(*layer(width, width), GatedAttention(width, attention, dropout))
        self.rho = nn.Sequential(*layer(width, pooled))
        self.add_classifier(pooled, classes, omic_dim, omic_hidden, dropout, fusion, reduction)

    def forward(
        self, tiles: Tensor, cluster: Tensor, bag: Tensor, bags: int, omic: Tensor | None = None
    ) -> DeepAttnMISLOutput:
        """Evaluate `bags` bags.

        Args:
            tiles: [t, input_dim], tiles of all bags.
            cluster: [t], 0..clusters-1.
            bag: [t], number 0..bags-1 of each tile's bag.
            bags: Number of bags.
            omic: [bags, omic_dim] where the model was built with `omic_dim`.
        """
        means = []
        for number, phi in enumerate(self.phis):
            rows = (cluster == number).nonzero().squeeze(1)
            means.append(segment_mean(phi(tiles[rows]), bag[rows], bags))
        tokens = self.attention_net[:3](torch.stack(means, dim=1))
        scores = self.attention_net[3](tokens)
        pooled = (torch.softmax(scores, dim=1)[:, :, None] * tokens).sum(dim=1)
        return DeepAttnMISLOutput(self.logits(self.rho(pooled), omic), scores)
