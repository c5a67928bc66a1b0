"""Table contracts refuse what breaks them, by name, and keep the provenance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pathomix.core.errors import PathomixError
from pathomix.core.provenance import Provenance
from pathomix.core.tables import Column, TableSchema, read_provenance, read_table, write_table

SCHEMA = TableSchema(
    "toys",
    ("name", "number"),
    {
        "name": Column("str"),
        "number": Column("int64"),
        "kind": Column("object", nullable=True, allowed=("a", "b")),
        "size": Column("float64", nullable=True, above=0.0),
    },
    extra_prefixes=("note_",),
)


def frame(**changes: object) -> pd.DataFrame:
    base = {"name": ["x", "y"], "number": [2, 1], "kind": ["a", None], "size": [1.5, np.nan]}
    return pd.DataFrame({**base, **changes})


def test_round_trip_sorts_by_key_and_keeps_provenance(tmp_path: Path) -> None:
    provenance = Provenance.of("toys", parameters={"depth": 3})
    write_table(frame(name=["z", "y"], note_a=[1, 2]), SCHEMA, tmp_path / "t.parquet", provenance)
    result = read_table(tmp_path / "t.parquet", SCHEMA)
    assert list(result["name"]) == ["y", "z"]
    assert list(result["note_a"]) == [2, 1]
    assert read_provenance(tmp_path / "t.parquet") == provenance


def test_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_table(frame(), SCHEMA, tmp_path / name, Provenance.of("toys"))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("table", "named"),
    [
        (frame().drop(columns="kind"), "columns are missing: kind"),
        (frame(colour=[1, 2]), "unknown columns: colour"),
        (frame(kind=["a", "c"]), r"kind is not one of .*: y/1"),
        (frame(size=[0.0, 1.0]), "size is not above 0: x/2"),
        (frame(name=["x", None]), "name is empty: (None|nan)/1"),
        (frame(number=[1, np.nan]), "number"),
        (frame(name=["x", "x"], number=[1, 1]), r"repeated: x/1"),
    ],
)
def test_refuses_by_name(table: pd.DataFrame, named: str, tmp_path: Path) -> None:
    with pytest.raises(PathomixError, match=named):
        write_table(table, SCHEMA, tmp_path / "t.parquet", Provenance.of("toys"))
    assert not list(tmp_path.iterdir())


def test_a_foreign_file_has_no_provenance(tmp_path: Path) -> None:
    frame().to_parquet(tmp_path / "foreign.parquet")
    with pytest.raises(PathomixError, match=r"foreign\.parquet: no provenance"):
        read_provenance(tmp_path / "foreign.parquet")
