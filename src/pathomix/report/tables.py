"""Results tables: methods in rows, cohorts in columns, every cell with its interval, missing cells with their reason.

The CSV is the table in long form at full precision; Markdown, LaTeX and HTML are rendered from the same rows.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd

from pathomix.core.files import write_text
from pathomix.core.schemas import TASKS
from pathomix.core.tables import read_table
from pathomix.evaluate.metrics import METRICS, metrics_of
from pathomix.evaluate.resampled import NOT_OVERLAPPING
from pathomix.evaluate.schemas import SCORES
from pathomix.report.captions import SIGNIFICANT, difference_caption, published_caption, results_caption
from pathomix.report.layout import Layout, is_oracle, p_text
from pathomix.report.published import PUBLISHED, PUBLISHED_COLUMNS, RUN, Published

DECIMALS = 3
_DASH = "\N{EN DASH}"
_COLUMNS = [
    *("task", "metric", "group", "method", "label", "cohort", "scheme", "mean", "sd_folds", "half_width", "sd_seeds"),
    *("lower", "upper", "reference", "difference", "difference_lower", "difference_upper"),
    *("resampled_t", "resampled_p", "wilcoxon_p", "test_ratio", "test_reason", "unit", "patients"),
    *("n_patients", "n_events", "n_missing", "folds_used", "folds_total", "seeds", "resamples"),
    *("rank", "reason", "source", *PUBLISHED_COLUMNS),
]


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
        test: ``p = 0.012, Wilcoxon p = 0.030``.
    """

    mean: str | None
    sd: str | None = None
    interval: tuple[str, str] | None = None
    mark: str = ""
    note: str = ""
    half_width: str | None = None
    test: str = ""

    @property
    def text(self) -> str:
        """``0.812 ± 0.020 (0.011) [0.780, 0.840]``, an en dash where missing."""
        if self.mean is None:
            return _DASH
        spread = f" ± {self.sd}" if self.sd else ""
        spread += f" ({self.half_width})" if self.half_width else ""
        interval = f" [{self.interval[0]}, {self.interval[1]}]" if self.interval else ""
        return f"{self.mean}{spread}{interval}" + (f", {self.test}" if self.test else "")


_CellOf = Callable[["pd.Series | None", pd.DataFrame, tuple[str, str], dict[str, str]], Cell]


@dataclass(frozen=True)
class Heading:
    """Column heading: the cohort and its size; without one a column of published values."""

    label: str
    patients: int | None
    events: int | None

    @property
    def size(self) -> str:
        """``n = 569, 187 events``."""
        if self.patients is None:
            return "as printed"
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
    """Scores in the order of the tables, with labels and ranks; `source` is ``run``, published values are empty.

    The rank counts the methods of a column whose printed mean is higher; oracle rows and missing cells have none.
    """
    rows = scores.assign(source=RUN, **{name: np.nan for name in PUBLISHED_COLUMNS})
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
    kinds |= dict.fromkeys(("task", "metric", "group", "method", "label", "cohort", "scheme", "source"), "str")
    kinds |= dict.fromkeys(
        ("reference", "test_reason", "unit", "patients", "published_method", "published_source"), "object"
    )
    frame = pd.read_csv(path, dtype=kinds, float_precision="round_trip", keep_default_na=False, na_values=[""])
    return frame.assign(group=frame["group"].fillna(""), reason=frame["reason"].astype(object))


def results_table(rows: pd.DataFrame, metric: str) -> ResultsTable:
    """Lay one metric of the tidy rows out as a table."""
    return _laid_out(rows[rows["metric"] == metric], metric, METRICS[metric].label, _cell, results_caption)


def difference_table(rows: pd.DataFrame, metric: str) -> ResultsTable | None:
    """The differences to the study's reference row, None where the study has none."""
    mine = rows[(rows["metric"] == metric) & rows["reference"].notna()]
    mine = mine[mine["method"] != mine["reference"]]
    if mine["difference"].isna().all():
        return None
    reference = rows.loc[rows["method"] == mine["reference"].iloc[0], "label"].iloc[0]
    title = f"{METRICS[metric].label}, difference to {reference}"
    return _laid_out(mine, f"{metric} difference", title, _difference_cell, difference_caption)


def published_table(rows: pd.DataFrame, metric: str) -> ResultsTable | None:
    """Rows of the study beside the published rows they answer to, None where no row names one."""
    mine = rows[(rows["metric"] == metric) & (rows["source"] == RUN)]
    known = mine[mine["published_mean"].notna()]
    if known.empty:
        return None
    mine = mine[mine["method"].isin(known["method"]) & mine["cohort"].isin(known["cohort"])]
    title = f"{METRICS[metric].label}, here and as published"
    ours = _laid_out(mine, f"{metric} published", title, _unranked_cell, published_caption)
    theirs = _laid_out(mine, "", title, _published_cell, published_caption)
    headings = [
        heading
        for here in ours.headings
        for heading in (replace(here, label=f"{here.label}, here"), Heading(f"{here.label}, published", None, None))
    ]
    # Both halves number their notes from a: those of the published half come after.
    letters = {text: letter for letter, text in ours.notes}
    moved = {letter: _letter(text, letters) for letter, text in theirs.notes}
    body = []
    for left, right in zip(ours.rows, theirs.rows, strict=True):
        printed = [replace(cell, note=moved.get(cell.note, "")) for cell in right.cells]
        pairs = zip(left.cells, printed, strict=True)
        body.append(replace(left, cells=tuple(cell for pair in pairs for cell in pair)))
    notes = tuple((letter, text) for text, letter in letters.items())
    return replace(ours, headings=tuple(headings), rows=tuple(body), notes=notes)


def tables_of(rows: pd.DataFrame, task: str) -> list[ResultsTable]:
    """Every table of one task: each metric, its differences to the reference row, its published counterparts."""
    present = [metric.name for metric in metrics_of(task) if (rows["metric"] == metric.name).any()]
    makers = (results_table, difference_table, published_table)
    laid = [maker(rows, name) for name in present for maker in makers]
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
    if row["source"] == PUBLISHED:
        return _published_cell(row, rows, key, letters)
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
        None if pd.isna(row["half_width"]) else _number(row["half_width"]),
    )


def _unranked_cell(row: pd.Series | None, rows: pd.DataFrame, key: tuple[str, str], letters: dict[str, str]) -> Cell:
    return replace(_cell(row, rows, key, letters), mark="")


def _published_cell(row: pd.Series | None, rows: pd.DataFrame, key: tuple[str, str], letters: dict[str, str]) -> Cell:
    """A printed value with its printed ±: no interval, no rank."""
    if row is None or pd.isna(row["published_mean"]):
        return Cell(None, note=_letter("not published for this cohort", letters))
    spread = None if pd.isna(row["published_spread"]) else _number(row["published_spread"])
    printed = "" if row["source"] == PUBLISHED else _letter(f"published as {row['published_method']}", letters)
    return Cell(_number(row["published_mean"]), spread, note=printed)


def _difference_cell(row: pd.Series | None, rows: pd.DataFrame, key: tuple[str, str], letters: dict[str, str]) -> Cell:
    """A difference with its sign and its tests over folds; bold as `difference_caption` says."""
    if row is None or pd.isna(row["difference"]):
        reason = "not run on this cohort" if row is None else "no value, or not on the folds of the reference"
        return Cell(None, note=_letter(reason, letters))
    lower, upper, p = (row[name] for name in ("difference_lower", "difference_upper", "resampled_p"))
    known = not pd.isna(lower)
    apart = p < SIGNIFICANT if not pd.isna(p) else known and (lower > 0 or upper < 0)
    tests = [] if pd.isna(p) else [p_text(p)]
    tests += [] if pd.isna(row["wilcoxon_p"]) else [f"Wilcoxon {p_text(row['wilcoxon_p'])}"]
    reason = row["test_reason"] if isinstance(row["test_reason"], str) else ""
    return Cell(
        f"{row['difference']:+.{DECIMALS}f}",
        interval=(f"{lower:+.{DECIMALS}f}", f"{upper:+.{DECIMALS}f}") if known else None,
        mark="best" if apart else "",
        note=_letter(reason, letters) if reason and reason != NOT_OVERLAPPING else "",
        test=", ".join(tests),
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
    published: Mapping[str, Any] | None = None,
) -> None:
    """Write `survival` and `subtype` as CSV, Markdown and LaTeX.

    A task without any score gives a table that says so, so that the outputs are always there.

    Args:
        scores_path: SCORES table of one study.
        cohort_order: Order of the columns.
        method_labels: See `Layout.of`.
        output_dir: Where the six files go.
        published: Published values to stand beside the rows; see `published.Settings`.

    Raises:
        PathomixError: The scores, the labels or the published values are not what they should be.
    """
    rows = tidy(read_table(scores_path, SCORES), Layout.of(cohort_order, method_labels))
    if published:
        rows = Published.of(published).beside(rows)
    for task in TASKS:
        mine = rows[rows["task"] == task]
        tables = tables_of(mine, task)
        folder = Path(output_dir)
        write_text(folder / f"{task}.csv", to_csv(mine))
        for kind in ("md", "tex"):
            write_text(folder / f"{task}.{kind}", render(tables, kind))
