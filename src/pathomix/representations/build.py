"""From a configuration to a representation; imported only when asked for, so that none's code reaches another's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pathomix.core.registry import entry_of
from pathomix.representations.base import Representation


def build_representation(configuration: Mapping[str, Any], slide_encoder: Mapping[str, Any]) -> Representation:
    """The configured representation.

    Args:
        configuration: Key `representation` and the representation's own parameters.
        slide_encoder: Parameters of the slide encoder below it.

    Raises:
        PathomixError: No or an unknown representation, or parameters it refuses.
    """
    parameters = dict(configuration)
    name = parameters.pop("representation", None)
    registry = "pathomix.representations.registry:REPRESENTATIONS"
    kind = entry_of(registry, name, what="representation", key="representation")
    built: Representation = kind(dict(slide_encoder), **parameters)
    return built
