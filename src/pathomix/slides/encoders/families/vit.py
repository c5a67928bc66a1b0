"""Vision transformers whose files are in timm's own layout."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any, Literal

import timm
import torch
from timm.layers.mlp import Mlp, SwiGLUPacked
from torch import Tensor, nn
from torch.nn.functional import interpolate

from pathomix.core.errors import PathomixError
from pathomix.core.weights import read_state
from pathomix.slides.encoders.families.family import Family, State
from pathomix.slides.encoders.parameters import EncoderParameters

_LAYERS: dict[str, dict[str, Any]] = {
    "gelu": {"mlp_layer": Mlp, "act_layer": nn.GELU},
    "swiglu_packed": {"mlp_layer": SwiGLUPacked, "act_layer": nn.SiLU},
}
_FIXED: dict[str, Any] = {
    "num_classes": 0,
    "in_chans": 3,
    "global_pool": "token",
    "qkv_bias": True,
    "class_token": True,
    "weight_init": "skip",  # the weights come from a file or a seed
    "norm_layer": partial(nn.LayerNorm, eps=1e-6),
}

Resampling = Literal["bicubic_antialiased", "bicubic", "bilinear"]


def build_vit(architecture: str, input_size: int, arguments: dict[str, Any]) -> nn.Module:
    """A vision transformer of timm without head, from its constructor's arguments and nothing else.

    Args:
        architecture: Name in timm.
        input_size: Edge of the images in pixels.
        arguments: Of the constructor; `mlp` is ``gelu`` or ``swiglu_packed`` (the first half of the packed layer's
            output goes through SiLU and is multiplied by the second, slides_and_encoders 3.1).

    Raises:
        PathomixError: Arguments that the constructor refuses.
    """
    given = {"img_size": input_size, **arguments}
    layers = _LAYERS.get(str(given.pop("mlp", "")))
    if layers is None:
        raise PathomixError(f"{architecture}: mlp is {arguments.get('mlp')!r}", remedy=f"use one of {sorted(_LAYERS)}")
    try:
        model: nn.Module = timm.create_model(architecture, pretrained=False, **_FIXED, **layers, **given)
    except (TypeError, ValueError, AssertionError) as error:
        raise PathomixError(
            f"timm's {architecture} refuses its arguments ({error})",
            remedy="correct model_args",
            offending=sorted(given),
        ) from error
    return model


def network(parameters: EncoderParameters) -> nn.Module:
    """See `build_vit`."""
    return build_vit(parameters.timm, parameters.input_size, dict(parameters.model_args))


def resized_rows(table: Tensor, wanted: Tensor, path: Path, how: Resampling, prefix: int = 1) -> Tensor:
    """A position table for another image size.

    Args:
        table: [1, prefix + g^2, d] of a file.
        wanted: The network's own table, whose shape is needed.
        path: For messages.
        how: ``bicubic_antialiased`` is what timm does.
        prefix: Rows that belong to no place.

    Returns:
        [1, prefix + G^2, d]; `table` itself where nothing is to be resized.

    Raises:
        PathomixError: One of the grids is not square.
    """
    if table.ndim != 3 or table.shape[1] == wanted.shape[1] or table.shape[2] != wanted.shape[2]:
        return table
    stored, places = table.shape[1] - prefix, wanted.shape[1] - prefix
    side, target = math.isqrt(max(stored, 0)), math.isqrt(max(places, 0))
    if side < 1 or side**2 != stored or target**2 != places:
        raise PathomixError(
            f"{path}: a position table of {stored} places cannot be resized to {places}",
            remedy="give the file of this encoder, or an input_size of a square grid",
        )
    mode, _, smooth = how.partition("_")
    # in float64, so that the digest of the weights does not depend on a processor's rounding
    grid = table[:, prefix:].mT.reshape(1, -1, side, side).double()
    resized = interpolate(grid, size=(target, target), mode=mode, align_corners=False, antialias=bool(smooth))
    return torch.cat([table[:, :prefix], resized.flatten(2).mT.to(table.dtype)], dim=1)


def _named(state: State, model: nn.Module, path: Path) -> dict[str, Tensor]:
    del model, path
    return dict(state)


FAMILY = Family(network=network, named=_named, read=read_state, whole=True)
