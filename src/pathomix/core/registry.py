"""Registries: tables of names to `module:attribute`, whose entries are imported only when asked for."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from pathomix.core.errors import PathomixError


def entry_of(registry: str, name: object, *, what: str, key: str) -> Any:
    """What a registry names.

    The registry is given as text and imported here, so that a new line in it is no change of the code that asks
    (`workflow.digest` follows imports), and no entry's code reaches another's.

    Args:
        registry: `module:TABLE`; the table maps names to `module:attribute`.
        name: The configured name.
        what: What is looked for, for the message.
        key: Configuration key that gives the name.

    Raises:
        PathomixError: The registry has no such name.
    """
    known: Mapping[str, str] = _attribute(registry)
    if not isinstance(name, str) or name not in known:
        raise PathomixError(f"unknown {what} {name!r}", remedy=f"set `{key}` to one of {sorted(known)}")
    return _attribute(known[name])


def _attribute(place: str) -> Any:
    module, _, attribute = place.partition(":")
    return getattr(importlib.import_module(module), attribute)
