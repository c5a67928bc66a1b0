"""Search in documents as the GDC does it: filters, field selection, order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

Document = Mapping[str, Any]
_ENDPOINTS = ("files", "cases", "projects")


class BadQueryError(Exception):
    """A query that is answered 400."""


def values(node: Any, path: list[str]) -> Iterator[Any]:
    """All values at a dotted path; lists on the way are looked through."""
    if isinstance(node, list):
        for entry in node:
            yield from values(entry, path)
    elif not path:
        yield node
    elif isinstance(node, Mapping) and path[0] in node:
        yield from values(node[path[0]], path[1:])


def matches(document: Document, filters: Any, endpoint: str) -> bool:
    """Whether a document passes a filter object.

    Raises:
        BadQueryError: The filter is malformed.
    """
    if not isinstance(filters, Mapping) or "op" not in filters or "content" not in filters:
        raise BadQueryError("filters must be objects with op and content")
    op, content = str(filters["op"]).lower(), filters["content"]
    if op in ("and", "or"):
        if not isinstance(content, list):
            raise BadQueryError(f"content of {op} must be a list")
        results = [matches(document, entry, endpoint) for entry in content]
        return all(results) if op == "and" else any(results)
    if not isinstance(content, Mapping) or "field" not in content:
        raise BadQueryError(f"content of {op} must name a field")
    found = list(values(document, own_path(str(content["field"]), endpoint)))
    if op in ("is", "not"):
        return bool(found) == (op == "not")
    wanted = content.get("value")
    listed = wanted if isinstance(wanted, list) else [wanted]
    compare: dict[str, Callable[[], bool]] = {
        "=": lambda: any(value in listed for value in found),
        "in": lambda: any(value in listed for value in found),
        "!=": lambda: all(value not in listed for value in found),
        "exclude": lambda: all(value not in listed for value in found),
        "<": lambda: any(value < listed[0] for value in found),
        "<=": lambda: any(value <= listed[0] for value in found),
        ">": lambda: any(value > listed[0] for value in found),
        ">=": lambda: any(value >= listed[0] for value in found),
    }
    if op not in compare:
        raise BadQueryError(f"unknown operation {op!r}")
    try:
        return compare[op]()
    except TypeError as error:
        raise BadQueryError(str(error)) from None


def own_path(field: str, endpoint: str) -> list[str]:
    """Parts of a field name; the name of the endpoint itself may stand before it."""
    path = field.split(".")
    return path[1:] if path[0] == endpoint and endpoint in _ENDPOINTS and len(path) > 1 else path


def selected(document: Document, fields: Iterable[str], endpoint: str) -> dict[str, Any]:
    """The wanted fields of a document, nested as they were; absent ones are left out. `id` always comes."""
    tree: dict[str, Any] = {}
    for field in fields:
        node = tree
        for part in own_path(field, endpoint):
            node = node.setdefault(part, {})
    return {"id": document["id"], **_pruned(document, tree)}


def _pruned(node: Any, tree: Mapping[str, Any]) -> Any:
    if not tree:
        return node
    if isinstance(node, list):
        return [_pruned(entry, tree) for entry in node]
    if not isinstance(node, Mapping):
        return node
    return {key: _pruned(node[key], below) for key, below in tree.items() if key in node}


def ordered(documents: list[Document], sort: str, endpoint: str) -> list[Document]:
    """Documents by ``field:asc`` or ``field:desc``, several separated by commas; missing values last."""
    result = list(documents)
    for key in reversed([part for part in sort.split(",") if part]):
        field, _, direction = key.partition(":")
        path = own_path(field, endpoint)

        def place(document: Document, path: list[str] = path) -> tuple[bool, Any]:
            value = next(values(document, path), None)
            return value is None, value if value is not None else 0

        result.sort(key=place, reverse=direction == "desc")
    return result
