"""Parameters of a component: a dataclass filled from the configuration, unknown keys refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar

from pathomix.core.errors import PathomixError

Settings = TypeVar("Settings")


def filled(settings: type[Settings], given: Mapping[str, Any], owner: str) -> Settings:
    """An instance of the dataclass `settings` from values configured for `owner`; lists become tuples.

    Raises:
        PathomixError: A key is unknown or a required one is missing, or a value is refused by the dataclass.
    """
    known = {f.name: f for f in fields(settings)}  # type: ignore[arg-type]
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise PathomixError(f"{owner}: unknown parameters", offending=unknown, remedy=f"use {sorted(known)}")
    required = [n for n, f in known.items() if f.default is MISSING and f.default_factory is MISSING]
    missing = sorted(set(required) - set(given))
    if missing:
        raise PathomixError(f"{owner}: parameters are missing", offending=missing, remedy="add them")
    for name, value in given.items():
        default = known[name].default
        if default is not MISSING and default is not None and value is not None and not _alike(value, default):
            raise PathomixError(f"{owner}: {name} is {value!r}", remedy=f"give a value like the default {default!r}")
    return settings(**{name: tuple(value) if isinstance(value, list) else value for name, value in given.items()})


def _alike(value: object, default: object) -> bool:
    """Whether a configured value has the kind of the default (an integer may stand for a float)."""
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if isinstance(default, float):
        return isinstance(value, (int, float))
    if isinstance(default, tuple):
        return isinstance(value, (list, tuple))
    return isinstance(value, type(default))


def choice(value: object, allowed: tuple[str, ...], key: str) -> None:
    """Refuse a value that is not one of `allowed`."""
    if value not in allowed:
        raise PathomixError(f"{key} is {value!r}", remedy=f"use one of {list(allowed)}")


def check_heads(width: int, heads: int, owner: str) -> None:
    """Refuse a width that attention heads cannot share evenly."""
    if heads < 1 or width < heads or width % heads:
        raise PathomixError(
            f"{owner}: width is {width}, to be shared by {heads} heads", remedy="set `width` to a multiple of `heads`"
        )
