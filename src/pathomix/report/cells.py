"""What one cell of a results table says: value, spread, interval, mark, footnote."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pandas as pd

from pathomix.evaluate.resampled import NOT_OVERLAPPING
from pathomix.report.captions import SIGNIFICANT
from pathomix.report.layout import p_text
from pathomix.report.published import PUBLISHED

DECIMALS = 3
DASH = "\N{EN DASH}"


@dataclass(frozen=True)
class Cell:
    """One cell as it is printed.

    Attributes:
        mean: ``0.812``, or None where the metric is missing.
        sd: Standard deviation over folds, None with a single fold; of a published value the ± as printed.
        interval: (lower, upper) of the patient bootstrap.
        mark: ``best``, ``second`` or nothing.
        note: Letter of the footnote, or nothing.
        half_width: Half-width of the 95 % t-interval over folds.
        test: ``p = 0.012, Holm p = 0.036, Wilcoxon p = 0.030``.
        faint: Whether the difference is smaller than what the cohort can resolve.
    """

    mean: str | None
    sd: str | None = None
    interval: tuple[str, str] | None = None
    mark: str = ""
    note: str = ""
    half_width: str | None = None
    test: str = ""
    faint: bool = False

    @property
    def text(self) -> str:
        """``0.812 ± 0.020 (0.011) [0.780, 0.840]``, an en dash where missing."""
        if self.mean is None:
            return DASH
        spread = f" ± {self.sd}" if self.sd else ""
        spread += f" ({self.half_width})" if self.half_width else ""
        interval = f" [{self.interval[0]}, {self.interval[1]}]" if self.interval else ""
        return f"{self.mean}{spread}{interval}" + (f", {self.test}" if self.test else "")


@dataclass(frozen=True)
class Heading:
    """Column heading: the cohort and its size; a column of published values has no cohort of its own."""

    label: str
    patients: int | None
    events: int | None
    cohort: str = ""
    scheme: str = ""

    @property
    def size(self) -> str:
        """``n = 569, 187 events``."""
        if self.patients is None:
            return "as printed"
        return f"n = {self.patients}" + ("" if self.events is None else f", {self.events} events")


@dataclass(frozen=True)
class Row:
    """One method; `group` is set on the first row of its group only."""

    method: str
    label: str
    group: str
    oracle: bool
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class ResultsTable:
    """One metric over all methods and cohorts; `name` tells the tables of a study's task apart.

    Attributes:
        resolution: Sentence over the table: which differences it cannot tell from noise; empty where nobody asked.
    """

    name: str
    task: str
    metric: str
    title: str
    caption: str
    headings: tuple[Heading, ...]
    rows: tuple[Row, ...]
    notes: tuple[tuple[str, str], ...]
    resolution: str = ""

    @property
    def has_faint(self) -> bool:
        """Whether a difference of the table is below what its cohort resolves."""
        return any(cell.faint for row in self.rows for cell in row.cells)


CellOf = Callable[["pd.Series | None", pd.DataFrame, tuple[str, str], dict[str, str]], Cell]


def number(value: float) -> str:
    """A value as the tables print it."""
    return f"{value:.{DECIMALS}f}"


def value_cell(row: pd.Series | None, rows: pd.DataFrame, key: tuple[str, str], letters: dict[str, str]) -> Cell:
    """A value of this run, or of a paper where the row was not run."""
    if row is None:
        return Cell(None, note=letter_of("not run on this cohort", letters))
    if row["source"] == PUBLISHED:
        return published_cell(row, rows, key, letters)
    reason = row["reason"] if isinstance(row["reason"], str) else ""
    if pd.isna(row["mean"]):
        return Cell(None, note=letter_of(reason or "missing without a stated reason", letters))
    if row["folds_used"] < row["folds_total"]:
        reason = f"mean over {row['folds_used']} of {row['folds_total']} folds; {reason}"
    column = rows[(rows["cohort"] == key[0]) & (rows["scheme"] == key[1])]
    ranked = int(column["rank"].notna().sum())
    mark = {1: "best" if ranked > 1 else "", 2: "second" if ranked > 2 else ""}
    return Cell(
        number(row["mean"]),
        None if pd.isna(row["sd_folds"]) else number(row["sd_folds"]),
        None if pd.isna(row["lower"]) else (number(row["lower"]), number(row["upper"])),
        "" if pd.isna(row["rank"]) else mark.get(int(row["rank"]), ""),
        letter_of(reason, letters) if reason else "",
        None if pd.isna(row["half_width"]) else number(row["half_width"]),
    )


def unranked_cell(row: pd.Series | None, rows: pd.DataFrame, key: tuple[str, str], letters: dict[str, str]) -> Cell:
    """A value without its place in the column."""
    return replace(value_cell(row, rows, key, letters), mark="")


def published_cell(row: pd.Series | None, rows: pd.DataFrame, key: tuple[str, str], letters: dict[str, str]) -> Cell:
    """A printed value with its printed ±: no interval, no rank."""
    if row is None or pd.isna(row["published_mean"]):
        return Cell(None, note=letter_of("not published for this cohort", letters))
    spread = None if pd.isna(row["published_spread"]) else number(row["published_spread"])
    printed = "" if row["source"] == PUBLISHED else letter_of(f"published as {row['published_method']}", letters)
    return Cell(number(row["published_mean"]), spread, note=printed)


def difference_cell(row: pd.Series | None, rows: pd.DataFrame, key: tuple[str, str], letters: dict[str, str]) -> Cell:
    """A difference with its sign and its tests; bold as `captions.difference_caption` says."""
    if row is None or pd.isna(row["difference"]):
        reason = "not run on this cohort" if row is None else "no value, or not on the folds of the reference"
        return Cell(None, note=letter_of(reason, letters))
    lower, upper = row["difference_lower"], row["difference_upper"]
    reason = row["test_reason"] if isinstance(row["test_reason"], str) else ""
    return Cell(
        f"{row['difference']:+.{DECIMALS}f}",
        interval=None if pd.isna(lower) else (f"{lower:+.{DECIMALS}f}", f"{upper:+.{DECIMALS}f}"),
        mark="best" if _apart(row) else "",
        note=letter_of(reason, letters) if reason and reason != NOT_OVERLAPPING else "",
        test=", ".join(_tests(row)),
        faint=bool(abs(row["difference"]) < row["resolvable"]),
    )


def _tests(row: pd.Series) -> list[str]:
    """The p over folds where test parts overlap, of the bootstrap elsewhere; then adjusted; then the lenient one."""
    p = row["bootstrap_p"] if pd.isna(row["resampled_p"]) else row["resampled_p"]
    shown = {"": p, "Holm ": row["holm_p"], "Wilcoxon ": row["wilcoxon_p"]}
    return [f"{name}{p_text(value)}" for name, value in shown.items() if not pd.isna(value)]


def _apart(row: pd.Series) -> bool:
    if not pd.isna(row["holm_p"]):
        return bool(row["holm_p"] < SIGNIFICANT)
    return bool(row["difference_lower"] > 0 or row["difference_upper"] < 0)


def letter_of(text: str, letters: dict[str, str]) -> str:
    """Letter of a footnote, the same for the same text: a, b, ... z, aa, ab, ..."""
    if text not in letters:
        place, letter = len(letters), ""
        while place >= 0:
            place, rest = divmod(place, 26)
            letter = chr(ord("a") + rest) + letter
            place -= 1
        letters[text] = letter
    return letters[text]
