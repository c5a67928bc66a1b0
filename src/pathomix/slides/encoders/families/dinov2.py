"""Files of DINOv2's own training code: timm's names, and a mask token that only training needs.

A position table of another image size (DINOv2 is released at 518 pixels) is resized as timm does it: bicubic,
antialiased.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from pathomix.core.weights import read_state
from pathomix.slides.encoders.families.family import Family, State
from pathomix.slides.encoders.families.vit import network, resized_rows

_TABLE = "pos_embed"
_TRAINING = "mask_token"


def _named(state: State, model: nn.Module, path: Path) -> dict[str, Tensor]:
    named = {name: tensor for name, tensor in state.items() if name != _TRAINING}
    if _TABLE in named:
        named[_TABLE] = resized_rows(named[_TABLE], model.pos_embed, path, "bicubic_antialiased")  # type: ignore[arg-type]
    return named


FAMILY = Family(network=network, named=_named, read=read_state, whole=True)
