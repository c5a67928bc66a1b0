"""Gated-attention multiple-instance learning (Ilse et al. 2018) under the parameter names of the MCAT repository."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from pathomix.nn.joint_classifier import JointClassifier, JointFusion
from pathomix.nn.segments import segment_softmax, segment_sum


class GatedAttention(nn.Module):
    """Attention score of each instance: c(tanh(a(h)) * sigmoid(b(h))), or several of them."""

    def __init__(self, width: int, attention: int, dropout: float, scores: int = 1) -> None:
        super().__init__()
        self.attention_a = nn.Sequential(nn.Linear(width, attention), nn.Tanh(), nn.Dropout(dropout))
        self.attention_b = nn.Sequential(nn.Linear(width, attention), nn.Sigmoid(), nn.Dropout(dropout))
        self.attention_c = nn.Linear(attention, scores)

    def forward(self, instances: Tensor) -> Tensor:
        """Scores [...] of `instances` [..., width]; [..., scores] where there are several."""
        return self.attention_c(self.attention_a(instances) * self.attention_b(instances)).squeeze(-1)


class ABMILOutput(NamedTuple):
    """Logits [bags, classes] and attention scores before the softmax [tiles]."""

    logits: Tensor
    attention: Tensor


class ABMIL(JointClassifier):
    """Tile embedding, gated attention, pooled embedding, optional fusion with a molecular vector, linear head.

    Several bags go through at once: their tiles are concatenated and the softmax runs within each bag, so that no
    padding is computed.

    Args:
        input_dim: Tile feature width.
        width: Tile embedding width.
        attention: Width of the attention layer.
        pooled: Width after pooling.
        classes: Outputs.
        omic_dim: Width of the molecular vector; 0 = images alone.
        omic_hidden: Width of the molecular encoder.
        dropout: Dropout probability (AlphaDropout in the molecular encoder).
        fusion: See `JointClassifier.add_classifier`.
        reduction: See there.
    """

    def __init__(
        self,
        input_dim: int,
        width: int = 512,
        attention: int = 256,
        pooled: int = 256,
        classes: int = 4,
        omic_dim: int = 0,
        omic_hidden: int = 256,
        dropout: float = 0.25,
        *,
        fusion: JointFusion = "concat",
        reduction: int = 8,
    ) -> None:
        super().__init__()
        self.attention_net = nn.Sequential(
            nn.Linear(input_dim, width), nn.ReLU(), nn.Dropout(dropout), GatedAttention(width, attention, dropout)
        )
        self.rho = nn.Sequential(nn.Linear(width, pooled), nn.ReLU(), nn.Dropout(dropout))
        self.add_classifier(pooled, classes, omic_dim, omic_hidden, dropout, fusion, reduction)

    def forward(self, tiles: Tensor, bag: Tensor, bags: int, omic: Tensor | None = None) -> ABMILOutput:
        """Evaluate `bags` bags.

        Args:
            tiles: [t, input_dim], tiles of all bags.
            bag: [t], number 0..bags-1 of each tile's bag; every bag has at least one tile.
            bags: Number of bags.
            omic: [bags, omic_dim] where the model was built with `omic_dim`.
        """
        hidden = self.attention_net[2](self.attention_net[1](self.attention_net[0](tiles)))
        scores = self.attention_net[3](hidden)
        weights = segment_softmax(scores, bag, bags)
        pooled = segment_sum(weights[:, None] * hidden, bag, bags)
        return ABMILOutput(self.logits(self.rho(pooled), omic), scores)
