"""The configuration's keys as a table, from the schema that checks them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

Schema = Mapping[str, Any]
_LIMITS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
    "minItems": "{} or more",
}


def configuration_table(path: Path) -> str:
    """Markdown table of every key, its type, its limits and its default."""
    schema = yaml.safe_load(path.read_text("utf-8"))
    rows = ["| key | what it takes | default |", "|---|---|---|"]
    for key, entry, required in _keys(schema, schema, "", False):
        default = "required" if required else (f"`{entry['default']}`" if "default" in entry else "")
        rows.append(f"| `{key}` | {_kind(entry, schema)} | {default} |")
    return "\n".join(dict.fromkeys(rows))


def _resolved(entry: Any, schema: Schema) -> Schema:
    if not isinstance(entry, Mapping):
        return {}
    if "$ref" not in entry:
        return entry
    return {**schema["$defs"][entry["$ref"].rpartition("/")[2]], **entry}


def _keys(entry: Schema, schema: Schema, path: str, required: bool) -> Iterator[tuple[str, Schema, bool]]:
    """Keys in the schema's order; a schema inside itself (`splits.<name>.inner`) is entered once."""
    if path:
        yield path, entry, required
    needed = entry.get("required", [])
    alternatives = [_resolved(one, schema) for one in entry.get("oneOf", [])]
    for source in (entry, *alternatives):
        for name, given in source.get("properties", {}).items():
            if "const" in given:
                continue
            inner = _resolved(given, schema)
            below = f"{path}.{name}" if path else name
            if given.get("$ref", "").endswith("/split") and path.endswith("<name>"):
                yield below, {"type": "a scheme, as here"}, False
            else:
                yield from _keys(inner, schema, below, name in needed)
        if isinstance(source.get("additionalProperties"), Mapping):
            yield from _keys(_resolved(source["additionalProperties"], schema), schema, f"{path}.<name>", False)


def _kind(entry: Schema, schema: Schema) -> str:
    if "enum" in entry:
        return "one of " + ", ".join(f"`{value}`" for value in entry["enum"])
    kind = entry.get("type", "anything")
    kind = " or ".join(kind) if isinstance(kind, list) else kind
    if kind == "array":
        kind = f"list of: {_kind(_resolved(entry.get('items'), schema), schema)}"
    elif kind == "object":
        kind = "section" if {"properties", "additionalProperties", "oneOf"} & set(entry) else "section (own parameters)"
    limits = [words.format(entry[key]) for key, words in _LIMITS.items() if key in entry]
    return ", ".join([kind, *limits])
