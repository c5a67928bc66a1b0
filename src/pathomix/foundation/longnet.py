"""Prov-GigaPath's slide encoder: random weights by seed, or the released checkpoint."""

from __future__ import annotations

from pathlib import Path

from pathomix.core.errors import PathomixError
from pathomix.core.weights import read_state
from pathomix.foundation.parameters import SlideEncoderParameters
from pathomix.nn.longnet import LongNet


def build(parameters: SlideEncoderParameters, in_dim: int) -> LongNet:
    """The model, weights in place.

    Raises:
        PathomixError: The weights file is missing or does not fit; every mismatch is named.
    """
    model = LongNet(
        in_dim,
        parameters.width,
        parameters.depth,
        parameters.heads,
        parameters.mlp_ratio,
        slide_ngrids=parameters.grid,
        tile_size=parameters.tile,
        max_wsi_size=parameters.max_slide,
        segment_length=parameters.segments or None,
        dilated_ratio=parameters.ratios,
        global_pool=parameters.global_pool,
        dropout=parameters.dropout,
        drop_path=parameters.drop_path,
        indexing=parameters.indexing,  # type: ignore[arg-type]
        kernel=parameters.attention,
        gradient_checkpointing=parameters.gradient_checkpointing,
    )
    if parameters.weights:
        state = read_state(Path(parameters.weights))
        try:
            model.load_official(state)
        except PathomixError as error:
            raise PathomixError(f"{parameters.weights}: {error.fact}", remedy=error.remedy) from error
    return model
