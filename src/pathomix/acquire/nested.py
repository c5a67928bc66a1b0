"""Nested documents of an archive as flat rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def flat_rows(
    document: Mapping[str, Any], fields: Sequence[str], each: str | None = None
) -> Iterator[tuple[dict[str, str], list[str]]]:
    """Rows of text of one document.

    Args:
        document: Objects within objects and lists of them.
        fields: Dotted paths, the columns.
        each: A list of the document with one row per entry; None for one row.

    Yields:
        The row (a path that leads nowhere is empty; several different values are joined by ``|``), and the names of
        the columns with several.
    """
    entries: list[Mapping[str, Any]] = [document]
    if each is not None:
        entries = [{**document, each: [entry]} for entry in document.get(each) or []]
    for entry in entries:
        found = {name: list(dict.fromkeys(_values(entry, name.split(".")))) for name in fields}
        several = [name for name, values in found.items() if len(values) > 1]
        yield {name: "|".join(values) for name, values in found.items()}, several


def _values(node: Any, path: Sequence[str]) -> Iterator[str]:
    if isinstance(node, list):
        for entry in node:
            yield from _values(entry, path)
    elif not path:
        if node is not None and not isinstance(node, Mapping):
            yield str(node)
    elif isinstance(node, Mapping) and path[0] in node:
        yield from _values(node[path[0]], path[1:])
