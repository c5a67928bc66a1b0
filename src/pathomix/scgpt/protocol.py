"""How embeddings were made, and the refusal to use two sets together that were made differently."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pathomix.core.errors import PathomixError


def require_same_protocol(first: Mapping[str, Any], second: Mapping[str, Any]) -> None:
    """Refuse to use two sets of embeddings together that were made differently.

    The number format may differ, and the genes that were measured: a panel makes those equal.

    Args:
        first: `Embeddings.protocol` of one set.
        second: Of the other.

    Raises:
        PathomixError: They differ; each difference is named.
    """
    names = sorted((set(first) | set(second)) - {"precision", "measured"})
    different = [
        f"{name}: {first.get(name)!r} and {second.get(name)!r}" for name in names if first.get(name) != second.get(name)
    ]
    if different:
        raise PathomixError(
            "embeddings were made in different ways",
            offending=different,
            remedy="embed both with the same checkpoint, settings and panel",
        )
