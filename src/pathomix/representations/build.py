"""From a configuration to a representation; imported only when asked for, so that none's code reaches another's."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from pathomix.core.errors import PathomixError
from pathomix.representations.base import Representation


def build_representation(configuration: Mapping[str, Any], slide_encoder: Mapping[str, Any]) -> Representation:
    """The configured representation.

    Args:
        configuration: Key `representation` and the representation's own parameters.
        slide_encoder: Parameters of the slide encoder below it.

    Raises:
        PathomixError: No or an unknown representation, or parameters it refuses.
    """
    known: Mapping[str, str] = importlib.import_module("pathomix.representations.registry").REPRESENTATIONS
    parameters = dict(configuration)
    name = parameters.pop("representation", None)
    if name not in known:
        raise PathomixError(
            f"unknown representation {name!r}", remedy=f"set `representation` to one of {sorted(known)}"
        )
    module, _, attribute = known[name].partition(":")
    built: Representation = getattr(importlib.import_module(module), attribute)(dict(slide_encoder), **parameters)
    return built
