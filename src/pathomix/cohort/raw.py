"""Reading users' tables without letting a parser guess: text stays text, only named columns become numbers."""

from __future__ import annotations

import csv
import difflib
import gzip
import io
import json
import re
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd

from pathomix.cohort.import_log import ImportLog
from pathomix.cohort.specs import MISSING, NORMAL_TYPES, IdSpec, TableSpec
from pathomix.core.barcodes import patient_barcode, sample_type
from pathomix.core.errors import PathomixError

SEPARATORS = {"csv": ",", "tsv": "\t", "txt": "\t", "gmt": "\t"}
"""Kinds of text tables and what is between their columns."""

# Given the column names, the positions to read as numbers.
NumericColumns = Callable[[tuple[str, ...]], Collection[int]]


@dataclass(frozen=True)
class RawTable:
    """A table as the user wrote it.

    Attributes:
        label: The file, for errors and reports.
        columns: Column names in file order; they may repeat.
        frame: Values; its columns are positions, because names may repeat.
        missing: Texts that mean "not known".
    """

    label: str
    columns: tuple[str, ...]
    frame: pd.DataFrame
    missing: frozenset[str]

    def position(self, column: str) -> int:
        """Position of a column.

        Raises:
            PathomixError: The column is absent, or there twice.
        """
        count = self.columns.count(column)
        if count == 1:
            return self.columns.index(column)
        if count > 1:
            raise PathomixError(f"{self.label}: column {column!r} appears {count} times", remedy="rename one of them")
        raise PathomixError(
            f"{self.label}: there is no column {column!r}",
            remedy=f"name an existing column in the description (near: {', '.join(self.near(column))})",
        )

    def near(self, column: str) -> list[str]:
        """Columns whose names are like one that is absent, else the first ones."""
        return difflib.get_close_matches(column, self.columns, n=3) or list(self.columns[:8])

    def verbatim(self, column: str) -> pd.Series:
        """Text of an identifier column, stripped; only an empty cell is missing (an id or symbol may be ``NA``)."""
        values = self.frame[self.position(column)].map(_as_text)
        return _blanked(values, values == "")

    def text(self, column: str) -> pd.Series:
        """Text of a column, stripped, None where missing."""
        values = self.frame[self.position(column)].map(_as_text)
        return _blanked(values, values.isin(self.missing))

    def numbers(self, column: str, patients: pd.Series) -> pd.Series:
        """A column as float64; `patients` names the rows in errors.

        Raises:
            PathomixError: A value is neither a number nor one of the table's missing texts.
        """
        text = self.text(column)
        values = pd.to_numeric(text, errors="coerce").astype("float64")
        bad = text.notna() & ~np.isfinite(values)
        if bad.any():
            raise PathomixError(
                f"{self.label}: column {column!r} holds {text[bad].iloc[0]!r}, which is not a number",
                offending=patients[bad],
                remedy="correct the value, or add it to the table's `missing` list in the description",
            )
        return values

    def with_column(self, column: str, value: str | None) -> RawTable:
        """The table with one more column of one text.

        Raises:
            PathomixError: There is a column of this name.
        """
        if column in self.columns:
            raise PathomixError(
                f"{self.label}: there is a column {column!r} already", remedy="give `part_column` another name"
            )
        frame = pd.concat([self.frame, pd.Series([value] * len(self.frame), dtype=object)], axis=1)
        return RawTable(
            self.label, (*self.columns, column), frame.set_axis(range(frame.shape[1]), axis=1), self.missing
        )

    def rows(self, keep: pd.Series) -> RawTable:
        """The table with only some rows."""
        return RawTable(self.label, self.columns, self.frame[keep].reset_index(drop=True), self.missing)


def _blanked(values: pd.Series, where: pd.Series) -> pd.Series:
    """Text with None (never NaN) where it is missing."""
    return pd.Series([None if m else v for v, m in zip(values, where, strict=True)], index=values.index, dtype=object)


def _as_text(value: Any) -> str:
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return ""
    return str(value).strip()


def _no_numbers(columns: tuple[str, ...]) -> Collection[int]:
    return ()


def read_raw(
    path: Path,
    label: str,
    missing: Iterable[str] = MISSING,
    records: str | None = None,
    numeric: NumericColumns = _no_numbers,
    kind: str | None = None,
) -> RawTable:
    """Read a csv/tsv/txt (.gz, .zip), parquet or JSON-records file.

    Args:
        path: File.
        label: Name of the file in errors and reports.
        missing: Texts that mean "not known".
        records: Key of the list of records in a JSON file.
        numeric: Chooses the positions of molecular columns, read as float64.
        kind: csv, tsv, parquet or json; None reads it from the ending.

    Raises:
        PathomixError: The file is absent, damaged or not of a known kind, or a molecular column holds text.
    """
    if not path.is_file():
        raise PathomixError(f"{label}: no such file under the data root", remedy="check `path` and --root")
    tokens = frozenset(missing)
    kind = kind or kind_of(path)
    try:
        if kind == "parquet":
            frame = pd.read_parquet(path)
            frame = frame if isinstance(frame.index, pd.RangeIndex) else frame.reset_index()
        elif kind == "json":
            frame = _read_records(path, label, records)
        elif kind in SEPARATORS:
            return _read_delimited(path, label, SEPARATORS[kind], tokens, numeric)
        else:
            raise PathomixError(
                f"{label}: files of kind .{kind} are not known",
                remedy="use csv, tsv, txt (.gz, .zip), parquet or json, or name the `format` in the description",
            )
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, UnicodeDecodeError, ValueError) as error:
        raise PathomixError(f"{label}: cannot be read ({error})", remedy="fetch the file again") from error
    columns = tuple(str(c) for c in frame.columns)
    frame = frame.set_axis(range(len(columns)), axis=1).reset_index(drop=True)
    return _with_numbers(RawTable(label, columns, frame, tokens), numeric(columns))


def kind_of(path: Path) -> str:
    """Kind of a file by its ending, compression aside."""
    return re.sub(r"\.(gz|zip)$", "", path.name.lower()).rpartition(".")[2]


def joined(tables: Sequence[RawTable]) -> RawTable:
    """One table from several files; a column that a file lacks is missing in its rows.

    Raises:
        PathomixError: A column name is repeated within a file, so that columns cannot be matched by name.
    """
    if len(tables) == 1:
        return tables[0]
    for table in tables:
        for column in table.columns:
            table.position(column)
    columns = tuple(dict.fromkeys(column for table in tables for column in table.columns))
    frames = [table.frame.set_axis(list(table.columns), axis=1) for table in tables]
    frame = pd.concat(frames, ignore_index=True).reindex(columns=list(columns))
    label = ", ".join(table.label for table in tables)
    return RawTable(label, columns, frame.set_axis(range(len(columns)), axis=1), tables[0].missing)


def open_bytes(path: Path) -> IO[bytes]:
    """Open a plain, gzip-compressed or zipped (one member) file."""
    if path.suffix == ".gz":
        return gzip.open(path, "rb")  # type: ignore[return-value]
    if path.suffix == ".zip":
        archive = zipfile.ZipFile(path)
        members = [m for m in archive.namelist() if not m.endswith("/") and not m.startswith("__MACOSX")]
        if len(members) != 1:
            raise ValueError(f"the archive holds {len(members)} files, one is expected")
        return io.BytesIO(archive.read(members[0]))
    return path.open("rb")


def _read_records(path: Path, label: str, key: str | None) -> pd.DataFrame:
    with open_bytes(path) as stream:
        content = json.load(stream)
    if key is not None and isinstance(content, dict) and key in content:
        content = content[key]
    if not isinstance(content, list) or not all(isinstance(item, dict) for item in content):
        known = sorted(content) if isinstance(content, dict) else type(content).__name__
        raise PathomixError(f"{label}: no list of records (found: {known})", remedy="set `records` to the list's key")
    return pd.DataFrame(content).astype(object)


def _read_delimited(
    path: Path, label: str, separator: str, missing: frozenset[str], numeric: NumericColumns
) -> RawTable:
    columns = _header(path, label, separator)
    positions = sorted(numeric(columns))
    options: dict[str, Any] = {
        "sep": separator, "header": None, "skiprows": 1, "names": range(len(columns)), "index_col": False,
        "keep_default_na": False, "low_memory": False,
    }  # fmt: skip
    chosen = set(positions)
    types: dict[Any, Any] = {i: "float64" if i in chosen else "str" for i in range(len(columns))}
    blank: dict[Any, Any] = {i: list(missing) for i in positions}
    try:
        with open_bytes(path) as stream:
            frame = pd.read_csv(stream, dtype=types, na_values=blank, **options)
    except ValueError:  # some molecular cell is text: read everything as text to name it
        with open_bytes(path) as stream:
            frame = pd.read_csv(stream, dtype=str, **options)
    return _with_numbers(RawTable(label, columns, frame, missing), positions)


def _header(path: Path, label: str, separator: str) -> tuple[str, ...]:
    """Column names; also checks that every line is as long as the header (pandas would cut or pad silently)."""
    with open_bytes(path) as stream:
        lines = csv.reader(io.TextIOWrapper(stream, encoding="utf-8-sig", newline=""), delimiter=separator)
        columns = tuple(cell.strip() for cell in next(lines, []))
        if not columns:
            raise PathomixError(f"{label}: the file is empty", remedy="fetch the file again")
        for row in lines:
            if row and len(row) != len(columns):
                raise PathomixError(
                    f"{label}: line {lines.line_num} has {len(row)} cells, the header has {len(columns)}",
                    remedy="fetch the file again, or repair this line",
                )
    return columns


def _with_numbers(table: RawTable, positions: Collection[int]) -> RawTable:
    """Turn molecular columns into numbers, naming the first cell that is none."""
    for position in positions:
        raw = table.frame[position]
        if raw.dtype == np.float64:
            continue
        if pd.api.types.is_numeric_dtype(raw):
            table.frame[position] = raw.astype("float64")
            continue
        text = raw.map(_as_text)
        values = pd.to_numeric(text, errors="coerce")
        bad = values.isna() & ~text.isin(table.missing)
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise PathomixError(
                f"{table.label}: {text[bad].iloc[0]!r} in a molecular column is not a number",
                offending=[f"column {table.columns[position]!r}, data row {row + 1}"],
                remedy="correct the value, name it in `missing`, or leave the column out",
            )
        table.frame[position] = values.astype("float64")
    return table


def patient_of(text: str, kind: IdSpec, where: str) -> str:
    """Patient id of an identifier.

    Raises:
        PathomixError: A barcode is expected and the text is none.
    """
    if kind.kind == "verbatim":
        return text
    try:
        return patient_barcode(text)
    except PathomixError as error:
        raise PathomixError(
            f"{where}: {error.fact}",
            offending=error.offending,
            remedy="name the column with submitter ids (TCGA-XX-YYYY), leave such rows out with `exclude`, "
            "or set `id.kind: verbatim`",
        ) from error


def keyed_rows(table: RawTable, spec: TableSpec, kind: IdSpec, log: ImportLog) -> tuple[RawTable, pd.Series]:
    """Apply the exclusion rules and name the patient of every row left.

    Returns:
        The table without excluded rows and rows without id, and the patient of each row.
    """
    total = len(table.frame)
    excluded: dict[str, int] = {}
    for rule in spec.exclude:
        text = table.verbatim(rule.column).fillna("")
        hit = text.str.contains(rule.matching or rule.not_matching or "", regex=True).astype(bool)
        drop = hit if rule.matching is not None else ~hit
        excluded[rule.reason] = excluded.get(rule.reason, 0) + int(drop.sum())
        table = table.rows(~drop)
    ids = table.verbatim(spec.id)
    if ids.isna().any():
        log.quarantine([""] * int(ids.isna().sum()), table.label, f"no patient id in column {spec.id!r}")
        table, ids = table.rows(ids.notna()), ids[ids.notna()].reset_index(drop=True)
    table, ids, other = _of_sample_types(table, ids, spec)
    where = f"{table.label}, column {spec.id!r}"
    patients = ids.map(lambda text: patient_of(text, kind, where)).astype(object)
    log.step(
        "read", table.label, rows_in=total, excluded=excluded, other_sample_types=other, rows_kept=len(patients),
        patients=int(patients.nunique()), repeated_rows=int(patients.duplicated().sum()),
    )  # fmt: skip
    return table, patients


def _of_sample_types(table: RawTable, ids: pd.Series, spec: TableSpec) -> tuple[RawTable, pd.Series, dict[str, int]]:
    """Rows of the chosen sample types, their ids, and how many rows of each other type were left out."""
    types = ids.map(sample_type).astype(object)
    present = sorted(types.dropna().unique())
    if spec.sample_types is None:
        normal = [t for t in present if t in NORMAL_TYPES]
        if normal:
            raise PathomixError(
                f"{table.label}: ids of normal tissue ({', '.join(normal)}) among those of {', '.join(present)}",
                offending=ids[types.isin(normal)],
                remedy='choose the tumour samples: `tables.<name>.sample_types: ["01"]`',
            )
        return table, ids, {}
    if not present and len(ids):
        raise PathomixError(
            f"{table.label}: `sample_types` is set, but the ids carry no sample type", offending=ids[:3],
            remedy="remove `sample_types`, or name the column with sample barcodes as `id`",
        )  # fmt: skip
    keep = types.isin(spec.sample_types)
    left = [t or "none" for t in types[~keep]]
    counts = {t: left.count(t) for t in sorted(set(left))}
    return table.rows(keep), ids[keep].reset_index(drop=True), counts


def one_value(values: pd.Series, patients: pd.Series, table: RawTable, meaning: str) -> pd.Series:
    """One value per patient from rows that may repeat him; a missing value never contradicts a known one.

    Args:
        values: One value per row.
        patients: Patient of each row.
        table: Table the rows come from.
        meaning: What the value is, for errors.

    Returns:
        Values indexed by patient, missing where no row knows.

    Raises:
        PathomixError: Two rows of one patient differ.
    """
    known = pd.DataFrame({"patient": patients, "value": values}).dropna().drop_duplicates()
    repeated = known[known["patient"].duplicated(keep=False)]
    if len(repeated):
        groups = repeated.groupby("patient")["value"].agg(lambda v: " / ".join(str(x) for x in v))
        raise PathomixError(
            f"{table.label}: rows of one patient contradict each other in {meaning}",
            offending=[f"{patient} ({shown})" for patient, shown in groups.items()],
            remedy="correct the table, or leave the wrong rows out with an `exclude` rule",
        )
    return known.set_index("patient")["value"].reindex(sorted(patients.unique()))
