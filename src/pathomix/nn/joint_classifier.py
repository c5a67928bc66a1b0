"""The last layers of the single-vector survival networks of the MCAT repository: slide vector, genes, logits."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from pathomix.nn.concatenation import joint_layers, molecular_encoder
from pathomix.nn.small_bilinear import SmallBilinearFusion

JointFusion = Literal["concat", "bilinear"]


class JointClassifier(nn.Module):
    """Base of networks whose slide vector may be joined with a molecular vector; official names `fc_omic`, `mm`."""

    omic_dim: int
    fusion: JointFusion

    def add_classifier(
        self,
        pooled: int,
        classes: int,
        omic_dim: int,
        omic_hidden: int,
        dropout: float,
        fusion: JointFusion = "concat",
        reduction: int = 8,
    ) -> None:
        """Register the last layers, after all others.

        Args:
            pooled: Width of the slide vector.
            classes: Outputs.
            omic_dim: Width of the molecular vector; 0 = images alone.
            omic_hidden: Width of its encoder.
            dropout: Dropout probability (AlphaDropout in the encoder).
            fusion: ``concat``: two layers over both vectors. ``bilinear``: `SmallBilinearFusion`, slide first.
            reduction: Factor of the bilinear fusion.
        """
        self.omic_dim, self.fusion = omic_dim, fusion
        if omic_dim:
            self.fc_omic = molecular_encoder(omic_dim, omic_hidden, dropout)
            self.mm = (
                joint_layers(pooled + omic_hidden, pooled)
                if fusion == "concat"
                else SmallBilinearFusion(pooled, omic_hidden, pooled, reduction, dropout)
            )
        self.classifier = nn.Linear(pooled, classes)

    def logits(self, slide: Tensor, omic: Tensor | None) -> Tensor:
        """Logits [bags, classes] of slide vectors [bags, pooled] and molecular vectors [bags, omic_dim]."""
        if self.omic_dim and omic is not None:
            encoded = self.fc_omic(omic)
            joined = self.fusion == "concat"
            slide = self.mm(torch.cat([slide, encoded], dim=1)) if joined else self.mm(slide, encoded)
        result: Tensor = self.classifier(slide)
        return result
