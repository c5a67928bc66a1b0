"""Units of work that can be kept: a folder whose ``run.json`` names its content key and the digests of its files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pathomix.core.files import file_digest, write_json


def read_record(folder: Path, key: str) -> dict[str, Any] | None:
    """The record of a finished unit with this key whose files are as it left them; None otherwise."""
    try:
        record: dict[str, Any] = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        whole = record["key"] == key and all(file_digest(folder / n) == d for n, d in record["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return record if whole else None


def write_record(folder: Path, key: str, files: Iterable[str], content: Mapping[str, Any]) -> dict[str, Any]:
    """Write ``run.json``, after all other files: a unit counts as done when their digests agree with it."""
    record = {"key": key, **content, "files": {name: file_digest(folder / name) for name in files}}
    write_json(folder / "run.json", record)
    return record
