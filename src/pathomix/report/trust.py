"""What a reader has to know before believing a number: declared leaks, and how much of the site the features know."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pathomix.core.errors import PathomixError
from pathomix.core.tables import read_table
from pathomix.evaluate.leakage import LEAK_COLUMNS
from pathomix.evaluate.schemas import SITE_PROBE


def read_probes(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Rows of the site probes, in the order of the files."""
    tables = [read_table(path, SITE_PROBE) for path in paths]
    return [{str(key): value for key, value in row.items()} for table in tables for row in table.to_dict("records")]


def read_leaks(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Declared leaks of the studies (``declared_leaks.tsv`` of `evaluate_study`), folds and seeds counted together.

    Raises:
        PathomixError: A file is not such a table.
    """
    rows: list[dict[str, Any]] = []
    for path in paths:
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
        if list(table.columns) != list(LEAK_COLUMNS):
            raise PathomixError(f"{path}: not a table of declared leaks", remedy="run evaluate_study again")
        named = ["method", "cohort", "step", "setting", "parts"]
        counted = table.groupby(named, sort=True).size().rename("runs").reset_index()
        found = ({str(key): value for key, value in row.items()} for row in counted.to_dict("records"))
        rows += [{"study": path.parent.name, **row} for row in found]
    return rows
