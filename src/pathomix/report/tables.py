"""Results tables: methods in rows, cohorts in columns, every cell with its interval, missing cells with their reason.

The CSV is the table in long form at full precision; Markdown, LaTeX and HTML are rendered from the same rows.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd

from pathomix.core.files import write_text
from pathomix.core.schemas import TASKS
from pathomix.core.tables import read_table
from pathomix.evaluate.metrics import METRICS, metrics_of
from pathomix.evaluate.schemas import SCORES
from pathomix.report.layout import Layout, is_oracle

DECIMALS = 3
_DIFFERENCE_CAPTION = (
    "Mean of the row less mean of the reference row; in brackets the 95 % percentile interval of the paired bootstrap "
    "(both rows meet the same resampled patients). Bold: the interval excludes 0."
)
_DASH = "\N{EN DASH}"
_COLUMNS = [
    *("task", "metric", "group", "method", "label", "cohort", "scheme", "mean", "sd_folds", "half_width", "sd_seeds"),
    *("lower", "upper", "reference", "difference", "difference_lower", "difference_upper"),
    *("n_patients", "n_events", "n_missing", "folds_used", "folds_total", "seeds", "resamples"),
    *("rank", "reason"),
]


@dataclass(frozen=True)
class Cell:
    """One cell as it is printed.

    Attributes:
        mean: ``0.812``, or None where the metric is missing.
        sd: Standard deviation over folds, None with a single fold.
        interval: (lower, upper) of the patient bootstrap.
        mark: ``best``, ``second`` or nothing.
        note: Letter of the footnote, or nothing.
    """

    mean: str | None
    sd: str | None = None
    interval: tuple[str, str] | None = None
    mark: str = ""
    note: str = ""

    @property
    def text(self) -> str:
        """``0.812 ± 0.020 [0.780, 0.840]``, an en dash where missing."""
        if self.mean is None:
            return _DASH
        spread = f" ± {self.sd}" if self.sd else ""
        return f"{self.mean}{spread}" + (f" [{self.interval[0]}, {self.interval[1]}]" if self.interval else "")


_CellOf = Callable[["pd.Series | None", pd.DataFrame, tuple[str, str], dict[str, str]], Cell]


@dataclass(frozen=True)
class Heading:
    """Column heading: the cohort and its size."""

    label: str
    patients: int
    events: int | None

    @property
    def size(self) -> str:
        """``n = 569, 187 events``."""
        return f"n = {self.patients}" + ("" if self.events is None else f", {self.events} events")


@dataclass(frozen=True)
class Row:
    """One method; `group` is set on the first row of its group only."""

    label: str
    group: str
    oracle: bool
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class ResultsTable:
    """One metric over all methods and cohorts; `name` tells the tables of a study's task apart."""

    name: str
    task: str
    metric: str
    title: str
    caption: str
    headings: tuple[Heading, ...]
    rows: tuple[Row, ...]
    notes: tuple[tuple[str, str], ...]


def tidy(scores: pd.DataFrame, layout: Layout) -> pd.DataFrame:
    """Scores in the order of the tables, with labels and ranks.

    The rank counts the methods of a column whose printed mean is higher; oracle rows and missing cells have none.
    """
    rows = scores.copy()
    rows["label"] = [layout.label(method).label for method in rows["method"]]
    rows["group"] = [layout.label(method).group for method in rows["method"]]
    oracle = rows["method"].map(is_oracle)
    shown = rows["mean"].round(DECIMALS).where(~oracle)
    column = [rows[name] for name in ("task", "metric", "cohort", "scheme")]
    rows["rank"] = shown.groupby(column).rank(method="min", ascending=False).astype("Int64")
    order = {
        "task": list(TASKS),
        "metric": list(METRICS),
        "method": layout.ordered_methods(rows["method"]),
        "cohort": layout.ordered_cohorts(rows["cohort"]),
    }
    keys = {name: rows[name].map({value: place for place, value in enumerate(order[name])}) for name in order}
    keys["scheme"] = rows["scheme"]
    return rows.loc[pd.DataFrame(keys).sort_values(list(keys)).index, _COLUMNS].reset_index(drop=True)


def to_csv(rows: pd.DataFrame) -> str:
    """Long form, full precision, missing values empty."""
    return str(rows.to_csv(index=False, lineterminator="\n"))


def read_csv(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Inverse of `to_csv`, bit for bit."""
    kinds: dict[Hashable, Any] = {name: "Int64" for name in _COLUMNS if name.startswith("n_")}
    kinds |= dict.fromkeys(("folds_used", "folds_total", "seeds", "resamples", "rank"), "Int64")
    kinds |= dict.fromkeys(("task", "metric", "group", "method", "label", "cohort", "scheme"), "str")
    kinds["reference"] = "object"
    frame = pd.read_csv(path, dtype=kinds, float_precision="round_trip", keep_default_na=False, na_values=[""])
    return frame.assign(group=frame["group"].fillna(""), reason=frame["reason"].astype(object))


def results_table(rows: pd.DataFrame, metric: str) -> ResultsTable:
    """Lay one metric of the tidy rows out as a table."""
    return _laid_out(rows[rows["metric"] == metric], metric, METRICS[metric].label, _cell, _caption)


def difference_table(rows: pd.DataFrame, metric: str) -> ResultsTable | None:
    """The differences to the study's reference row, None where the study has none."""
    mine = rows[(rows["metric"] == metric) & rows["reference"].notna()]
    mine = mine[mine["method"] != mine["reference"]]
    if mine["difference"].isna().all():
        return None
    reference = rows.loc[rows["method"] == mine["reference"].iloc[0], "label"].iloc[0]
    title = f"{METRICS[metric].label}, difference to {reference}"
    return _laid_out(mine, f"{metric} difference", title, _difference_cell, lambda _: _DIFFERENCE_CAPTION)


def tables_of(rows: pd.DataFrame, task: str) -> list[ResultsTable]:
    """Every table of one task: each metric, followed by its differences to the reference row."""
    present = [metric.name for metric in metrics_of(task) if (rows["metric"] == metric.name).any()]
    laid = [table for name in present for table in (results_table(rows, name), difference_table(rows, name))]
    return [table for table in laid if table is not None]


def _laid_out(
    rows: pd.DataFrame, name: str, title: str, cell: _CellOf, caption: Callable[[pd.DataFrame], str]
) -> ResultsTable:
    place = list(rows[["cohort", "scheme"]].drop_duplicates().itertuples(index=False, name=None))
    twice = {cohort for cohort, _ in place if sum(cohort == other for other, _ in place) > 1}
    place.sort(key=lambda item: list(dict.fromkeys(rows["cohort"])).index(item[0]))
    headings = []
    for cohort, scheme in place:
        column = rows[(rows["cohort"] == cohort) & (rows["scheme"] == scheme)]
        events = column["n_events"].max()
        label = f"{cohort} ({scheme})" if cohort in twice else cohort
        headings.append(Heading(label, int(column["n_patients"].max()), None if pd.isna(events) else int(events)))
    letters: dict[str, str] = {}
    body, group = [], ""
    for method, mine in rows.groupby("method", sort=False):
        found = {(row["cohort"], row["scheme"]): row for _, row in mine.iterrows()}
        cells = tuple(cell(found.get(key), rows, key, letters) for key in place)
        first = mine.iloc[0]
        heading = "" if first["group"] == group else first["group"]
        body.append(Row(first["label"], heading, is_oracle(str(method)), cells))
        group = first["group"]
    notes = tuple((letter, text) for text, letter in letters.items())
    metric = str(rows["metric"].iloc[0])
    task = METRICS[metric].task
    heading = f"{task.capitalize()}: {title}"
    return ResultsTable(name, task, metric, heading, caption(rows), tuple(headings), tuple(body), notes)


def _cell(row: pd.Series | None, rows: pd.DataFrame, key: tuple[str, str], letters: dict[str, str]) -> Cell:
    if row is None:
        return Cell(None, note=_letter("not run on this cohort", letters))
    reason = row["reason"] if isinstance(row["reason"], str) else ""
    if pd.isna(row["mean"]):
        return Cell(None, note=_letter(reason or "missing without a stated reason", letters))
    if row["folds_used"] < row["folds_total"]:
        reason = f"mean over {row['folds_used']} of {row['folds_total']} folds; {reason}"
    column = rows[(rows["cohort"] == key[0]) & (rows["scheme"] == key[1])]
    ranked = int(column["rank"].notna().sum())
    mark = {1: "best" if ranked > 1 else "", 2: "second" if ranked > 2 else ""}
    return Cell(
        _number(row["mean"]),
        None if pd.isna(row["sd_folds"]) else _number(row["sd_folds"]),
        None if pd.isna(row["lower"]) else (_number(row["lower"]), _number(row["upper"])),
        "" if pd.isna(row["rank"]) else mark.get(int(row["rank"]), ""),
        _letter(reason, letters) if reason else "",
    )


def _difference_cell(row: pd.Series | None, rows: pd.DataFrame, key: tuple[str, str], letters: dict[str, str]) -> Cell:
    """A difference with its sign; bold where the interval excludes 0."""
    if row is None or pd.isna(row["difference"]):
        reason = "not run on this cohort" if row is None else "no value, or not on the folds of the reference"
        return Cell(None, note=_letter(reason, letters))
    lower, upper = row["difference_lower"], row["difference_upper"]
    known = not pd.isna(lower)
    return Cell(
        f"{row['difference']:+.{DECIMALS}f}",
        interval=(f"{lower:+.{DECIMALS}f}", f"{upper:+.{DECIMALS}f}") if known else None,
        mark="best" if known and (lower > 0 or upper < 0) else "",
    )


def _number(value: float) -> str:
    return f"{value:.{DECIMALS}f}"


def _letter(text: str, letters: dict[str, str]) -> str:
    """Letter of a footnote, the same for the same text: a, b, ... z, aa, ab, ..."""
    if text not in letters:
        number, letter = len(letters), ""
        while number >= 0:
            number, rest = divmod(number, 26)
            letter = chr(ord("a") + rest) + letter
            number -= 1
        letters[text] = letter
    return letters[text]


def _span(values: pd.Series, one: str) -> str:
    """``5 folds``, ``1 seed``, ``5 to 15 folds``."""
    low, high = int(values.min()), int(values.max())
    return f"{low} {one}" + ("" if low == 1 else "s") if low == high else f"{low} to {high} {one}s"


def _caption(rows: pd.DataFrame) -> str:
    seeds = "" if rows["seeds"].max() == 1 else f" ({_span(rows['seeds'], 'seed')} averaged within each fold)"
    folds, several = _span(rows["folds_total"], "fold"), rows["folds_total"].max() > 1
    spread = f"Mean ± standard deviation over {folds}" if several else f"Value on {folds}"
    ranked = rows["rank"].notna().groupby([rows["cohort"], rows["scheme"]]).sum().max()
    parts = [
        f"{spread}{seeds}, and in brackets the 95 % percentile interval of "
        f"{int(rows['resamples'].max()):,} bootstrap resamples of the patients.",
        "One prediction per patient and fold; higher is better.",
    ]
    if ranked > 1:
        parts.append("Bold: best of the column" + ("; underlined: second best." if ranked > 2 else "."))
    if rows["method"].map(is_oracle).any():
        parts.append("Oracle rows know the simulated truth; they bound what a method can reach and are not ranked.")
    if rows["mean"].isna().any() or np.asarray(rows["reason"].notna()).any():
        parts.append("Letters refer to the notes.")
    return " ".join(parts)


_LATEX = {"&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}"}
_LATEX |= {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}"}
_LATEX |= {"±": r"$\pm$", _DASH: "--", "<": r"$<$", ">": r"$>$"}


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)


def _markdown(text: str) -> str:
    return text.replace("|", r"\|").replace("*", r"\*").replace("_", r"\_").replace("<", "&lt;")


def render(tables: Sequence[ResultsTable], kind: str) -> str:
    """Markdown (``md``) or LaTeX (``tex``) of the tables of one task."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pathomix.report", "templates"),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        # LaTeX is full of braces and per cent signs; comments of the usual form would swallow `{#`.
        comment_start_string="<#",
        comment_end_string="#>",
    )
    environment.filters |= {"tex": _latex, "md": _markdown}
    return environment.get_template(f"table.{kind}.j2").render(tables=tables)


def make_tables(
    scores_path: str | os.PathLike[str],
    cohort_order: Sequence[str],
    method_labels: Mapping[str, Any],
    output_dir: str | os.PathLike[str],
) -> None:
    """Write `survival` and `subtype` as CSV, Markdown and LaTeX.

    A task without any score gives a table that says so, so that the outputs are always there.

    Args:
        scores_path: SCORES table of one study.
        cohort_order: Order of the columns.
        method_labels: See `Layout.of`.
        output_dir: Where the six files go.

    Raises:
        PathomixError: The scores or the labels are not what they should be.
    """
    rows = tidy(read_table(scores_path, SCORES), Layout.of(cohort_order, method_labels))
    for task in TASKS:
        mine = rows[rows["task"] == task]
        tables = tables_of(mine, task)
        folder = Path(output_dir)
        write_text(folder / f"{task}.csv", to_csv(mine))
        for kind in ("md", "tex"):
            write_text(folder / f"{task}.{kind}", render(tables, kind))
