"""Inner splits as the methods read them: no code that makes splits, none of its libraries."""

from __future__ import annotations

import pandas as pd

from pathomix.core.errors import PathomixError
from pathomix.core.schemas import PARTS, SPLITS
from pathomix.core.tables import Column, TableSchema

INNER_SPLITS = TableSchema(
    "inner_splits",
    ("fold", "inner_fold", "patient_id"),
    {
        "fold": Column("int64"),
        "inner_fold": Column("int64"),
        "patient_id": Column("str"),
        "part": Column("str", allowed=PARTS),
    },
)


def inner_splits(table: pd.DataFrame, fold: int) -> pd.DataFrame:
    """SPLITS rows of the inner folds of one outer fold.

    Raises:
        PathomixError: There is no such outer fold.
    """
    rows = table[table["fold"] == fold]
    if rows.empty:
        known = sorted(int(f) for f in table["fold"].unique())
        raise PathomixError(f"the inner splits have no outer fold {fold}", remedy=f"choose one of {known}")
    return SPLITS.validate(rows.drop(columns="fold").rename(columns={"inner_fold": "fold"}))
