"""From a configuration to a slide encoder; an architecture is imported only when asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from pathomix.core.errors import PathomixError
from pathomix.core.parameters import filled
from pathomix.core.registry import entry_of
from pathomix.core.weights import state_digest
from pathomix.foundation.parameters import SlideEncoderParameters
from pathomix.foundation.slide_encoder import SlideEncoder


class SlideEncoders:
    """One slide encoder for each width of tile features, built once; frozen, so that all fits share it.

    Args:
        parameters: Fields of `SlideEncoderParameters`.
    """

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        self._parameters = dict(parameters)
        self._built: dict[int, SlideEncoder] = {}

    def of(self, in_dim: int) -> SlideEncoder:
        """The encoder for tile features of this width; see `build_slide_encoder`."""
        if in_dim not in self._built:
            self._built[in_dim] = build_slide_encoder(self._parameters, in_dim)
        return self._built[in_dim]


def build_slide_encoder(parameters: Mapping[str, Any], in_dim: int) -> SlideEncoder:
    """The configured slide encoder, frozen and in evaluation mode.

    Args:
        parameters: Fields of `SlideEncoderParameters`.
        in_dim: Tile feature width of the cohort.

    Raises:
        PathomixError: Parameters that are refused, features of another width than the configuration says, or weights
            that cannot be had or do not fit.
    """
    settings = filled(SlideEncoderParameters, parameters, "slide encoder")
    registry = "pathomix.foundation.registry:ARCHITECTURES"
    build = entry_of(registry, settings.architecture, what="slide encoder architecture", key="architecture")
    if settings.in_dim not in (0, in_dim):
        raise PathomixError(
            f"slide encoder {settings.architecture}: needs tile features of width {settings.in_dim}, not {in_dim}",
            remedy="pair it with the tile encoder it was made for (key `encoder` of the representation)",
        )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(settings.seed)
        model: nn.Module = build(settings, in_dim)
    model.eval().requires_grad_(False)
    return SlideEncoder(settings, in_dim, model, state_digest(model.state_dict()))
