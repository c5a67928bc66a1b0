"""From a configuration to a method; imported only when asked for, so that no method's code reaches another's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pathomix.core.registry import entry_of
from pathomix.methods.base import Method


def build_method(configuration: Mapping[str, Any]) -> Method:
    """The configured method.

    Args:
        configuration: Key `method` and the method's own parameters.

    Raises:
        PathomixError: No or an unknown method, or parameters it refuses.
    """
    parameters = dict(configuration)
    name = parameters.pop("method", None)
    method: Method = entry_of("pathomix.methods.registry:METHODS", name, what="method", key="method")(**parameters)
    return method
