"""Parquet tables with a declared schema: checked on writing and on reading."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pathomix.core.errors import PathomixError
from pathomix.core.files import atomic_path
from pathomix.core.provenance import METADATA_KEY, Provenance


@dataclass(frozen=True)
class Column:
    """One column: pandas dtype, whether it may be missing, and the values it may take."""

    dtype: str
    nullable: bool = False
    allowed: tuple[Any, ...] | None = None
    above: float | None = None


@dataclass(frozen=True)
class TableSchema:
    """A named table contract.

    Attributes:
        name: Artefact name.
        key: Columns that together identify a row.
        columns: Declared columns in their order.
        extra_prefixes: Further columns are accepted when they start with one of these.
    """

    name: str
    key: tuple[str, ...]
    columns: Mapping[str, Column]
    extra_prefixes: tuple[str, ...] = ()
    version: int = 1
    _remedy: str = field(default="regenerate the table with the rule that makes it", repr=False)

    def validate(self, frame: pd.DataFrame, source: str = "") -> pd.DataFrame:
        """Return the frame with declared columns first and declared dtypes.

        Raises:
            PathomixError: A column is missing or unknown, a value is missing or not allowed, a key is repeated.
        """
        where = f"{self.name} table {source}".strip()
        missing = [name for name in self.columns if name not in frame.columns]
        if missing:
            raise PathomixError(f"{where}: columns are missing", offending=missing, remedy=self._remedy)
        extra = [c for c in frame.columns if c not in self.columns]
        unknown = [c for c in extra if not str(c).startswith(self.extra_prefixes)] if self.extra_prefixes else extra
        if unknown:
            raise PathomixError(f"{where}: unknown columns", offending=unknown, remedy="remove or rename them")
        result = frame[[*self.columns, *extra]].reset_index(drop=True)
        for name, column in self.columns.items():
            result[name] = self._checked(result, name, column, where)
        repeated = result[result.duplicated(list(self.key), keep=False)]
        if len(repeated):
            ids = repeated[list(self.key)].astype(str).agg("/".join, axis=1).unique()
            raise PathomixError(
                f"{where}: the key {self.key} is repeated", offending=ids, remedy="keep one row per key"
            )
        return result

    def _checked(self, frame: pd.DataFrame, name: str, column: Column, where: str) -> pd.Series:
        try:
            values = frame[name].astype(pd.api.types.pandas_dtype(column.dtype))
        except (TypeError, ValueError) as error:
            raise PathomixError(
                f"{where}: column {name} is not {column.dtype} ({error})", remedy="correct the values"
            ) from error
        # Asked of the column as it came: casting to text would turn a missing value into the word "nan".
        checks = {} if column.nullable else {"is empty": frame[name].isna()}
        if column.allowed is not None:
            checks[f"is not one of {list(column.allowed)}"] = ~(values.isin(column.allowed) | values.isna())
        if column.above is not None:
            checks[f"is not above {column.above:g}"] = (values <= column.above).fillna(False)
        for fact, mask in checks.items():
            bad = mask.astype(bool)
            if bad.any():
                ids = frame.loc[bad, list(self.key)].astype(str).agg("/".join, axis=1)
                raise PathomixError(f"{where}: {name} {fact}", offending=ids, remedy="correct these rows")
        return values


def write_table(frame: pd.DataFrame, schema: TableSchema, path: str | os.PathLike[str], provenance: Provenance) -> None:
    """Validate, sort by key and write parquet with the provenance in the schema metadata."""
    checked = schema.validate(frame, str(path)).sort_values(list(schema.key), ignore_index=True)
    table = pa.Table.from_pandas(checked, preserve_index=False)
    metadata = {**(table.schema.metadata or {}), METADATA_KEY.encode(): provenance.to_json().encode()}
    with atomic_path(path) as temporary:
        pq.write_table(table.replace_schema_metadata(metadata), temporary, compression="zstd")


def read_table(path: str | os.PathLike[str], schema: TableSchema) -> pd.DataFrame:
    """Read and validate a table written by `write_table`."""
    return schema.validate(pd.read_parquet(path), str(path))


def read_provenance(path: str | os.PathLike[str]) -> Provenance:
    """Provenance of a parquet artefact.

    Raises:
        PathomixError: The file was not written by pathomix.
    """
    metadata = pq.read_schema(path).metadata or {}
    if METADATA_KEY.encode() not in metadata:
        raise PathomixError(f"{path}: no provenance in its metadata", remedy="regenerate it with the workflow")
    return Provenance.from_json(metadata[METADATA_KEY.encode()].decode())
