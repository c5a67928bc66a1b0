"""Histories are read through their indices, and refused when they are not what the index lists."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from pathomix.core.files import file_digest, write_json
from pathomix.report.histories import read_history


@pytest.fixture
def row(tmp_path: Path) -> dict[str, object]:
    """A finished unit as `train_representation` leaves it."""
    folder = tmp_path / "unit"
    folder.mkdir()
    pd.DataFrame({"step": [0, 1], "loss": [2.0, 1.0]}).to_parquet(folder / "history.parquet")
    (folder / "model.safetensors").write_bytes(b"weights")
    files = {path.name: file_digest(path) for path in folder.iterdir()}
    write_json(folder / "run.json", {"files": files})
    return {"status": "done", "reason": None, "path": "unit/model.safetensors", "sha256": files["model.safetensors"]}


def test_a_listed_history_is_read_whatever_file_the_index_is_of(row: dict[str, object], tmp_path: Path) -> None:
    found = read_history(tmp_path, row)
    assert isinstance(found, pd.DataFrame) and list(found["loss"]) == [2.0, 1.0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"status": "failed", "reason": "no tiles"}, "no tiles"),
        ({"status": "failed", "reason": float("nan")}, "failed without a stated reason"),
        ({"path": None}, "the index names no file"),
        ({"sha256": "0"}, "history.parquet is not the one its run index was written for"),
        ({"path": "other/model.safetensors"}, "history.parquet or run.json cannot be read (FileNotFoundError)"),
    ],
)
def test_one_that_is_not_listed_is_refused_with_the_reason(row, tmp_path, change, said) -> None:
    assert read_history(tmp_path, {**row, **change}) == said


def test_one_that_was_changed_is_refused(row: dict[str, object], tmp_path: Path) -> None:
    pd.DataFrame({"step": [0], "loss": [0.0]}).to_parquet(tmp_path / "unit/history.parquet")
    assert read_history(tmp_path, row) == "history.parquet is not the one its run index was written for"
