"""Reading a matrix file: numbers of chosen samples only, one line at a time, float32 (a transcriptome fits in memory).

The first column holds the row names, whatever its header says; every other column is a sample or a gene.
"""

from __future__ import annotations

import csv
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

import numpy as np

from pathomix.cohort.raw import SEPARATORS, kind_of, open_bytes, read_raw
from pathomix.cohort.specs import MISSING
from pathomix.core.errors import PathomixError

# Given all sample names, the positions of those to read.
Chosen = Callable[[Sequence[str]], Sequence[int]]
_BLOCK = 512


@dataclass(frozen=True)
class Matrix:
    """A matrix as found: rows are samples, columns are genes and may repeat a symbol.

    Attributes:
        label: The file, for errors and reports.
        samples: Names of the chosen samples, in file order.
        genes: Names of all genes, in file order.
        values: float32 [samples, genes], NaN where missing.
        found: Number of samples in the file.
    """

    label: str
    samples: list[str]
    genes: list[str]
    values: np.ndarray
    found: int


def read_matrix(
    path: Path,
    label: str,
    chosen: Chosen,
    *,
    genes_in_rows: bool,
    kind: str | None = None,
    missing: Collection[str] = MISSING,
) -> Matrix:
    """Read the chosen samples of a csv, tsv or txt (.gz, .zip), parquet or JSON-records matrix.

    Args:
        path: File.
        label: Name of the file in errors and reports.
        chosen: Picks the samples.
        genes_in_rows: Whether genes are rows and samples columns.
        kind: csv, tsv, parquet or json; None reads it from the ending.
        missing: Texts that mean "not known"; they count among numbers only, so that a gene may be called NA.

    Raises:
        PathomixError: The file is absent or damaged, a line has another number of cells than the header, or a cell of a
            chosen sample is no number.
    """
    kind = kind or kind_of(path)
    if kind not in SEPARATORS or not path.is_file():
        return _read_small(path, label, chosen, genes_in_rows, kind)
    try:
        with open_bytes(path) as stream:
            lines = _lines(stream, label, SEPARATORS[kind])
            return _collect(lines, label, chosen, genes_in_rows, frozenset(missing))
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, UnicodeDecodeError, ValueError) as error:
        raise PathomixError(f"{label}: cannot be read ({error})", remedy="fetch the file again") from error


def _lines(stream: Iterator[bytes], label: str, separator: str) -> Iterator[list[str]]:
    """Cells of the header, then of every line that is not blank; all of one length."""
    width = 0
    for number, raw in enumerate(stream, start=1):
        line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        if not line and number > 1:
            continue
        cells = next(csv.reader([line], delimiter=separator), [""]) if '"' in line else line.split(separator)
        width = width or len(cells)
        if len(cells) != width:
            raise PathomixError(
                f"{label}: line {number} has {len(cells)} cells, the header has {width}",
                remedy="fetch the file again, or repair this line",
            )
        yield cells
    if not width:
        raise PathomixError(f"{label}: the file is empty", remedy="fetch the file again")


def _collect(
    lines: Iterator[list[str]], label: str, chosen: Chosen, genes_in_rows: bool, missing: frozenset[str]
) -> Matrix:
    header = [cell.strip() for cell in next(lines)][1:]
    numbers = _Numbers(label, header, missing)
    if not genes_in_rows:
        return _rows_are_samples(lines, label, chosen, header, numbers)
    places = list(chosen(header))
    genes: list[str] = []
    blocks: list[np.ndarray] = []
    block: list[np.ndarray] = []
    for cells in lines:
        genes.append(cells[0].strip())
        block.append(numbers.of(cells, places))
        if len(block) == _BLOCK:
            blocks.append(np.stack(block))
            block = []
    blocks += [np.stack(block)] if block else []
    values = np.empty((len(places), len(genes)), np.float32)
    start = 0
    # Turned block by block, each given back at once: never twice the matrix plus its transpose.
    for i, part in enumerate(blocks):
        values[:, start : start + len(part)] = part.T
        start += len(part)
        blocks[i] = part[:0]
    return Matrix(label, [header[i] for i in places], genes, values, len(header))


def _rows_are_samples(
    lines: Iterator[list[str]], label: str, chosen: Chosen, genes: list[str], numbers: _Numbers
) -> Matrix:
    """The names decide which rows are used and come only with the rows: all rows are read, then chosen."""
    names: list[str] = []
    rows: list[np.ndarray] = []
    every = list(range(len(genes)))
    for cells in lines:
        names.append(cells[0].strip())
        rows.append(numbers.of(cells, every))
    places = list(chosen(names))
    values = np.stack([rows[i] for i in places]) if places else np.empty((0, len(genes)), np.float32)
    return Matrix(label, [names[i] for i in places], genes, values, len(names))


class _Numbers:
    """Turns cells into numbers, naming the first that is none."""

    def __init__(self, label: str, header: list[str], missing: frozenset[str]) -> None:
        self._label, self._header, self._missing = label, header, missing
        self._row = 0

    def of(self, cells: list[str], places: list[int]) -> np.ndarray:
        """float32 [places] of a line."""
        self._row += 1
        picked = _pick(cells, places)
        if "_" not in "".join(picked):
            try:
                values = np.fromiter(map(float, picked), np.float64, len(picked))
            except ValueError:
                return self._slowly(picked, places)
            if not np.isnan(values).any():
                return values.astype(np.float32)
        return self._slowly(picked, places)

    def _slowly(self, picked: Sequence[str], places: list[int]) -> np.ndarray:
        values = np.empty(len(picked), np.float32)
        for i, raw in enumerate(picked):
            text = raw.strip()
            if text in self._missing:
                values[i] = np.nan
                continue
            number = _number(text)
            if number is None:
                raise PathomixError(
                    f"{self._label}: {text!r} in a molecular column is not a number",
                    offending=[f"column {self._header[places[i]]!r}, data row {self._row}"],
                    remedy="correct the value, name it in `missing`, or leave the column out",
                )
            values[i] = number
        return values


def _number(text: str) -> float | None:
    """A number as written in tables; not Python's ``1_000``, nor a spelled-out NaN."""
    try:
        value = float(text)
    except ValueError:
        return None
    return None if "_" in text or np.isnan(value) else value


def _pick(cells: list[str], places: list[int]) -> Sequence[str]:
    if len(places) == len(cells) - 1:
        return cells[1:]
    if not places:
        return []
    picked = itemgetter(*(place + 1 for place in places))(cells)
    return picked if len(places) > 1 else [picked]


def _read_small(path: Path, label: str, chosen: Chosen, genes_in_rows: bool, kind: str) -> Matrix:
    """Formats that are read whole; also the errors for what is absent or of an unknown kind."""
    table = read_raw(path, label, numeric=lambda columns: range(1, len(columns)), kind=kind)
    names = table.frame[0].map(lambda v: "" if v is None else str(v).strip()).tolist()
    headers = list(table.columns[1:])
    values = table.frame[list(range(1, len(table.columns)))].to_numpy(np.float32)
    samples, genes, values = (headers, names, values.T) if genes_in_rows else (names, headers, values)
    places = list(chosen(samples))
    return Matrix(label, [samples[i] for i in places], genes, values[places], len(samples))
