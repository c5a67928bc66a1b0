"""From a configuration to a method; imported only when asked for, so that no method's code reaches another's."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from pathomix.core.errors import PathomixError
from pathomix.methods.base import Method


def build_method(configuration: Mapping[str, Any]) -> Method:
    """The configured method.

    Args:
        configuration: Key `method` and the method's own parameters.

    Raises:
        PathomixError: No or an unknown method, or parameters it refuses.
    """
    methods: Mapping[str, str] = importlib.import_module("pathomix.methods.registry").METHODS
    parameters = dict(configuration)
    name = parameters.pop("method", None)
    if name not in methods:
        raise PathomixError(f"unknown method {name!r}", remedy=f"set `method` to one of {sorted(methods)}")
    module, _, attribute = methods[name].partition(":")
    method: Method = getattr(importlib.import_module(module), attribute)(**parameters)
    return method
