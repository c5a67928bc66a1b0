"""A slide encoder with a head on its slide vector, trained end to end."""

from __future__ import annotations

from torch import Tensor, nn

from pathomix.nn.backbone import Backbone
from pathomix.nn.concatenation import Concatenation


class TunedEncoder(nn.Module):
    """Slide encoder, optional concatenation of its vector with a molecular vector, linear head.

    Args:
        encoder: A `Backbone` that is an `nn.Module`; all of its parameters are trained.
        classes: Outputs.
        pooling: Slide vector: `cls`, `mean` or `model`, see `Backbone.image_vector`.
        omic_dim: Width of the molecular vector; 0 = images alone.
        omic_hidden: Width of the molecular encoder and of the joint vector.
        omic_dropout: AlphaDropout probability of the molecular encoder.
    """

    def __init__(
        self,
        encoder: nn.Module,
        classes: int,
        pooling: str = "model",
        omic_dim: int = 0,
        omic_hidden: int = 256,
        omic_dropout: float = 0.25,
    ) -> None:
        super().__init__()
        self.encoder = encoder.requires_grad_(True)
        self.pooling, self.omic_dim = pooling, omic_dim
        width = self._backbone.width
        if omic_dim:
            self.concatenation = Concatenation(width, omic_dim, omic_hidden, omic_hidden, omic_dropout)
        self.head = nn.Linear(omic_hidden if omic_dim else width, classes)

    @property
    def _backbone(self) -> Backbone:
        return self.encoder  # type: ignore[return-value]

    def forward(self, features: Tensor, coords: Tensor, omic: Tensor | None = None) -> Tensor:
        """Logits [B, classes]; for the arguments see `vector`."""
        return self.head(self.vector(features, coords, omic))

    def vector(self, features: Tensor, coords: Tensor, omic: Tensor | None = None) -> Tensor:
        """What the head reads [B, width].

        Args:
            features: [B, L, in_dim].
            coords: [B, L, 2] in the encoder's frame.
            omic: [B, omic_dim] where the model was built with `omic_dim`.
        """
        backbone = self._backbone
        tokens = backbone.run_blocks(backbone.prepare(features, coords), 0, backbone.depth - 1)
        vector = backbone.image_vector(tokens, self.pooling)
        if self.omic_dim and omic is not None:
            vector = self.concatenation(vector, omic)
        return vector
