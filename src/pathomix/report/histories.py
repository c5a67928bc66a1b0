"""Histories of fits, found through the indices that list them, and only if they are the files that were listed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pathomix.core.errors import PathomixError
from pathomix.core.files import file_digest
from pathomix.core.schemas import RUN_INDEX
from pathomix.core.tables import read_table


def read_run_indices(indices: Sequence[str | os.PathLike[str]]) -> pd.DataFrame:
    """RUN_INDEX rows of one study, in the order of their key.

    Raises:
        PathomixError: There is none, or they repeat a run or belong to different studies.
    """
    if not indices:
        raise PathomixError("no run index was given", remedy="pass the RUN_INDEX tables with --indices")
    index = RUN_INDEX.validate(pd.concat([read_table(path, RUN_INDEX) for path in indices], ignore_index=True))
    studies = sorted(index["study"].unique())
    if len(studies) != 1:
        raise PathomixError(
            "the run indices must hold the runs of one study", offending=studies, remedy="draw each study by itself"
        )
    return index.sort_values(list(RUN_INDEX.key), ignore_index=True)


def read_history(root: Path, row: Mapping[Any, Any]) -> pd.DataFrame | str:
    """History of a row of a RUN_INDEX or MODEL_INDEX table, or why it cannot be used.

    Args:
        root: Folder the path in the row starts from.
        row: The row.
    """
    if row["status"] != "done":
        return str(row["reason"]) if isinstance(row["reason"], str) else "failed without a stated reason"
    if not isinstance(row["path"], str):
        return "the index names no file"
    listed = root / row["path"]
    path = listed.parent / "history.parquet"
    try:
        files = json.loads((listed.parent / "run.json").read_text(encoding="utf-8"))["files"]
        if files[listed.name] != row["sha256"] or files["history.parquet"] != file_digest(path):
            return "history.parquet is not the one its run index was written for"
        history: pd.DataFrame = pq.read_table(path).to_pandas()
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        return f"history.parquet or run.json cannot be read ({type(error).__name__})"
    return history
