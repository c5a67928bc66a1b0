"""Our open slide encoder of TITAN's shape: random weights by seed, or a file of ours."""

from __future__ import annotations

from pathlib import Path

from pathomix.core.weights import load_strictly, read_state
from pathomix.foundation.parameters import SlideEncoderParameters
from pathomix.nn.alibi_vit import ALiBiViT


def build(parameters: SlideEncoderParameters, in_dim: int) -> ALiBiViT:
    """The model, weights in place.

    Raises:
        PathomixError: The weights file is missing or does not fit; every mismatch is named.
    """
    model = ALiBiViT(
        in_dim,
        parameters.width,
        parameters.depth,
        parameters.heads,
        mlp_ratio=parameters.mlp_ratio,
        pooler_heads=parameters.pooler_heads,
        tile=parameters.tile,
        drop_path=parameters.drop_path,
    )
    if parameters.weights:
        path = Path(parameters.weights)
        load_strictly(model, read_state(path), path)
    return model
