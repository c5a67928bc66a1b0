"""What a slide encoder is."""

from __future__ import annotations

from dataclasses import dataclass

from pathomix.core.errors import PathomixError
from pathomix.core.parameters import choice


@dataclass(frozen=True)
class SlideEncoderParameters:
    """Parameters of a slide encoder; the sizes have the values of the released Prov-GigaPath slide encoder.

    Attributes:
        architecture: Name in `foundation.registry`: ``longnet`` (Prov-GigaPath), ``titan`` (the user's own copy) or
            ``alibi_vit`` (our open model of TITAN's shape).
        weights: File with the weights; for ``titan`` the folder with the user's copy; empty = random weights.
        seed: Seed of the random weights.
        in_dim: Tile feature width the encoder has to be fed with; 0 = that of the cohort's features.
        width: Token width; ``titan`` brings its own, as well as depth and mlp_ratio.
        depth: Blocks.
        heads: Attention heads of each block.
        mlp_ratio: Hidden width of the feed-forward as a multiple of `width`.
        tile: Edge of a position cell in units of the coordinates that reach the encoder. In the frame ``target_mpp``
            it cancels out; in the frame ``level0_raw`` it is the released divisor (256 Prov-GigaPath, 1024 TITAN).
        grid: Position cells per axis of ``longnet``; the others have no limit.
        segments: Segment lengths of ``longnet``; empty = the rule from `max_slide` and `tile`.
        ratios: Dilation of each segment length of ``longnet``.
        max_slide: Largest slide edge of that rule, in units of the coordinates.
        indexing: ``aligned``, or ``compat`` with the released code of ``longnet`` where a ratio does not divide its
            segment (stock segments: beyond 185,363 tokens; spec slides_and_encoders 4.6).
        attention: Attention kernel of ``longnet`` (see `nn.dilated_attention`); they differ by rounding.
        global_pool: Whether the vector ``model`` of ``longnet`` is the mean of tiles instead of the class token.
        gradient_checkpointing: Whether ``longnet`` computes its blocks again in the backward pass to save memory.
        pooler_heads: Attention heads of the pooler of ``alibi_vit``.
        dropout: Dropout of ``longnet`` while the backbone is in training mode.
        drop_path: Largest stochastic depth of ``longnet`` and ``alibi_vit`` while the backbone is in training mode.
    """

    architecture: str
    weights: str = ""
    seed: int = 0
    in_dim: int = 0
    width: int = 768
    depth: int = 12
    heads: int = 16
    mlp_ratio: float = 4.0
    tile: int = 256
    grid: int = 1000
    segments: tuple[int, ...] = ()
    ratios: tuple[int, ...] = (1, 2, 4, 8, 16)
    max_slide: int = 262144
    indexing: str = "aligned"
    attention: str = "auto"
    global_pool: bool = False
    gradient_checkpointing: bool = False
    pooler_heads: int = 8
    dropout: float = 0.25
    drop_path: float = 0.1

    def __post_init__(self) -> None:
        choice(self.indexing, ("aligned", "compat"), "indexing")
        wrong = [f"{name} is below 1" for name in _SIZES if getattr(self, name) < 1]
        if not (0 <= self.dropout < 1 and 0 <= self.drop_path < 1):
            wrong.append("dropout and drop_path are at least 0 and below 1")
        if self.segments and len(self.segments) != len(self.ratios):
            wrong.append("segments and ratios differ in number")
        if wrong:
            raise PathomixError(f"slide encoder {self.architecture}: {'; '.join(wrong)}", remedy="correct these keys")


_SIZES = ("width", "depth", "heads", "mlp_ratio", "tile", "grid", "max_slide", "pooler_heads")
