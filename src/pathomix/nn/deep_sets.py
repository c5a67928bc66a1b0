"""Deep Sets (Zaheer et al. 2017) for bags of tiles, under the parameter names of the MCAT repository."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from pathomix.nn.joint_classifier import JointClassifier, JointFusion
from pathomix.nn.segments import segment_mean, segment_sum

Pooling = Literal["sum", "mean"]


class DeepSets(JointClassifier):
    """Every tile embedded on its own, the embeddings added up, one more layer, linear head.

    Args:
        input_dim: Tile feature width.
        width: Tile embedding width.
        pooled: Width after pooling.
        classes: Outputs.
        pooling: ``sum`` (the reference), or ``mean``, which does not grow with the number of tiles.
        omic_dim: Width of the molecular vector; 0 = images alone.
        omic_hidden: Width of the molecular encoder.
        dropout: Dropout probability.
        fusion: See `JointClassifier.add_classifier`.
        reduction: See there.
    """

    def __init__(
        self,
        input_dim: int,
        width: int = 512,
        pooled: int = 256,
        classes: int = 4,
        *,
        pooling: Pooling = "sum",
        omic_dim: int = 0,
        omic_hidden: int = 256,
        dropout: float = 0.25,
        fusion: JointFusion = "concat",
        reduction: int = 8,
    ) -> None:
        super().__init__()
        self.pooling = pooling
        self.phi = nn.Sequential(nn.Linear(input_dim, width), nn.ReLU(), nn.Dropout(dropout))
        self.rho = nn.Sequential(nn.Linear(width, pooled), nn.ReLU(), nn.Dropout(dropout))
        self.add_classifier(pooled, classes, omic_dim, omic_hidden, dropout, fusion, reduction)

    def forward(self, tiles: Tensor, bag: Tensor, bags: int, omic: Tensor | None = None) -> Tensor:
        """Logits [bags, classes].

        Args:
            tiles: [t, input_dim], tiles of all bags.
            bag: [t], number 0..bags-1 of each tile's bag.
            bags: Number of bags; one without tiles is the empty sum.
            omic: [bags, omic_dim] where the model was built with `omic_dim`.
        """
        hidden = self.phi(tiles)
        pool = segment_mean if self.pooling == "mean" else segment_sum
        return self.logits(self.rho(pool(hidden, bag, bags)), omic)
