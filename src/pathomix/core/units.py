"""Units of work that can be kept: a folder whose ``run.json`` names its content key and the digests of its files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors.numpy import save_file

from pathomix.core.files import atomic_path, content_key, file_digest, write_json


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


def write_arrays(path: Path, arrays: Mapping[str, NDArray[np.generic]], metadata: Mapping[str, str]) -> None:
    """Write named arrays as safetensors, in the order of their names."""
    with atomic_path(path) as temporary:
        ordered = {name: np.ascontiguousarray(value) for name, value in sorted(arrays.items())}
        save_file(ordered, temporary, metadata=dict(metadata))


def split_key(split: pd.DataFrame) -> str:
    """Key of some rows of a SPLITS table: what a unit depends on, so that a new fold leaves the others alone."""
    rows = split.sort_values(["fold", "patient_id"])[["fold", "patient_id", "part"]].to_numpy().tolist()
    return content_key(rows=rows)
