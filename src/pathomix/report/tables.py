"""Results tables: methods in rows, cohorts in columns, every cell with its interval, missing cells with their reason.

The CSV is the table in long form at full precision; Markdown, LaTeX and HTML are rendered from the same rows.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pathomix.core.files import write_text
from pathomix.core.schemas import TASKS
from pathomix.core.tables import read_table
from pathomix.evaluate.metrics import METRICS, metrics_of
from pathomix.evaluate.oracles import is_oracle
from pathomix.evaluate.schemas import SCORES
from pathomix.report.captions import (
    difference_caption,
    lower_is_better,
    published_caption,
    resolution_sentence,
    results_caption,
)
from pathomix.report.cells import (
    DECIMALS,
    CellOf,
    Heading,
    ResultsTable,
    Row,
    difference_cell,
    letter_of,
    published_cell,
    unranked_cell,
    value_cell,
)
from pathomix.report.layout import Layout
from pathomix.report.published import PUBLISHED_COLUMNS, RUN, Published
from pathomix.report.render import render

SUFFIXES = ("csv", "md", "tex", "html")
_COLUMNS = [
    *("task", "metric", "group", "method", "label", "cohort", "scheme", "mean", "sd_folds", "half_width", "sd_seeds"),
    *("lower", "upper", "reference", "difference", "difference_lower", "difference_upper", "bootstrap_p"),
    *("resampled_t", "resampled_p", "wilcoxon_p", "holm_p", "test_ratio", "test_reason"),
    *("resolvable", "resolvable_reason", "unit", "patients"),
    *("n_patients", "n_events", "n_missing", "folds_used", "folds_total", "seeds", "resamples"),
    *("rank", "reason", "source", *PUBLISHED_COLUMNS, "tuning"),
]
_MISSING_TEXTS = ("reference", "test_reason", "resolvable_reason", "unit", "patients", "published_method", "tuning")


def tidy(scores: pd.DataFrame, layout: Layout) -> pd.DataFrame:
    """Scores in the order of the tables, with labels and ranks; `source` is ``run``, published values are empty.

    The rank counts the methods of a column whose printed mean is better; oracle rows and missing cells have none.
    """
    rows = scores.assign(source=RUN, **{name: np.nan for name in PUBLISHED_COLUMNS})
    rows["label"] = [layout.label(method).label for method in rows["method"]]
    rows["group"] = [layout.label(method).group for method in rows["method"]]
    oracle = rows["method"].map(is_oracle)
    sign = rows["metric"].map(lambda name: 1.0 if lower_is_better(name) else -1.0)
    shown = (sign * rows["mean"].round(DECIMALS)).where(~oracle)
    column = [rows[name] for name in ("task", "metric", "cohort", "scheme")]
    rows["rank"] = shown.groupby(column).rank(method="min").astype("Int64")
    order = {
        "task": list(TASKS),
        "metric": list(METRICS),
        "method": layout.ordered_methods(rows["method"]),
        "cohort": layout.ordered_cohorts(rows["cohort"]),
    }
    keys = {name: rows[name].map({value: place for place, value in enumerate(order[name])}) for name in order}
    keys["scheme"] = rows["scheme"]
    return rows.loc[pd.DataFrame(keys).sort_values(list(keys)).index].reindex(columns=_COLUMNS).reset_index(drop=True)


def to_csv(rows: pd.DataFrame) -> str:
    """Long form, full precision, missing values empty."""
    return str(rows.to_csv(index=False, lineterminator="\n"))


def read_csv(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Inverse of `to_csv`, bit for bit."""
    kinds: dict[Hashable, Any] = {name: "Int64" for name in _COLUMNS if name.startswith("n_")}
    kinds |= dict.fromkeys(("folds_used", "folds_total", "seeds", "resamples", "rank"), "Int64")
    kinds |= dict.fromkeys(("task", "metric", "group", "method", "label", "cohort", "scheme", "source"), "str")
    kinds |= dict.fromkeys((*_MISSING_TEXTS, "published_source"), "object")
    frame = pd.read_csv(path, dtype=kinds, float_precision="round_trip", keep_default_na=False, na_values=[""])
    return frame.assign(group=frame["group"].fillna(""), reason=frame["reason"].astype(object))


def results_table(rows: pd.DataFrame, metric: str) -> ResultsTable:
    """Lay one metric of the tidy rows out as a table."""
    return _laid_out(rows[rows["metric"] == metric], metric, METRICS[metric].label, value_cell, results_caption)


def difference_table(rows: pd.DataFrame, metric: str) -> ResultsTable | None:
    """The differences to the study's reference row, None where the study has none."""
    mine = rows[(rows["metric"] == metric) & rows["reference"].notna()]
    mine = mine[mine["method"] != mine["reference"]]
    if mine["difference"].isna().all():
        return None
    reference = rows.loc[rows["method"] == mine["reference"].iloc[0], "label"].iloc[0]
    title = f"{METRICS[metric].label}, difference to {reference}"
    return _laid_out(mine, f"{metric} difference", title, difference_cell, difference_caption)


def published_table(rows: pd.DataFrame, metric: str) -> ResultsTable | None:
    """Rows of the study beside the published rows they answer to, None where no row names one."""
    mine = rows[(rows["metric"] == metric) & (rows["source"] == RUN)]
    known = mine[mine["published_mean"].notna()]
    if known.empty:
        return None
    mine = mine[mine["method"].isin(known["method"]) & mine["cohort"].isin(known["cohort"])]
    title = f"{METRICS[metric].label}, here and as published"
    ours = _laid_out(mine, f"{metric} published", title, unranked_cell, published_caption)
    theirs = _laid_out(mine, "", title, published_cell, published_caption)
    headings = [
        heading
        for here in ours.headings
        for heading in (replace(here, label=f"{here.label}, here"), Heading(f"{here.label}, published", None, None))
    ]
    # Both halves number their notes from a: those of the published half come after.
    letters = {text: letter for letter, text in ours.notes}
    moved = {letter: letter_of(text, letters) for letter, text in theirs.notes}
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
    rows: pd.DataFrame, name: str, title: str, cell: CellOf, caption: Callable[[pd.DataFrame], str]
) -> ResultsTable:
    place = list(rows[["cohort", "scheme"]].drop_duplicates().itertuples(index=False, name=None))
    twice = {cohort for cohort, _ in place if sum(cohort == other for other, _ in place) > 1}
    place.sort(key=lambda item: list(dict.fromkeys(rows["cohort"])).index(item[0]))
    headings = []
    for cohort, scheme in place:
        column = rows[(rows["cohort"] == cohort) & (rows["scheme"] == scheme)]
        events = column["n_events"].max()
        label = f"{cohort} ({scheme})" if cohort in twice else cohort
        patients = int(column["n_patients"].max())
        headings.append(Heading(label, patients, None if pd.isna(events) else int(events), cohort, scheme))
    letters: dict[str, str] = {}
    body, group = [], ""
    for method, mine in rows.groupby("method", sort=False):
        found = {(row["cohort"], row["scheme"]): row for _, row in mine.iterrows()}
        cells = tuple(cell(found.get(key), rows, key, letters) for key in place)
        first = mine.iloc[0]
        heading = "" if first["group"] == group else first["group"]
        body.append(Row(str(method), first["label"], heading, is_oracle(str(method)), cells))
        group = first["group"]
    notes = tuple((letter, text) for text, letter in letters.items())
    metric = str(rows["metric"].iloc[0])
    task = METRICS[metric].task
    heading = f"{task.capitalize()}: {title}"
    resolution = resolution_sentence(rows)
    return ResultsTable(name, task, metric, heading, caption(rows), tuple(headings), tuple(body), notes, resolution)


def make_tables(
    scores_path: str | os.PathLike[str],
    cohort_order: Sequence[str],
    method_labels: Mapping[str, Any],
    output_dir: str | os.PathLike[str],
    published: Mapping[str, Any] | None = None,
    tuning: str = "",
) -> None:
    """Write `survival` and `subtype` as CSV, Markdown, LaTeX and HTML.

    A task without any score gives a table that says so, so that the outputs are always there.

    Args:
        scores_path: SCORES table of one study.
        cohort_order: Order of the columns.
        method_labels: See `Layout.of`.
        output_dir: Where the eight files go.
        published: Published values to stand beside the rows; see `published.Settings`.
        tuning: How the rows were tuned, for the captions; empty where none was.

    Raises:
        PathomixError: The scores, the labels or the published values are not what they should be.
    """
    rows = tidy(read_table(scores_path, SCORES), Layout.of(cohort_order, method_labels)).assign(tuning=tuning or None)
    if published:
        rows = Published.of(published).beside(rows)
    for task in TASKS:
        mine = rows[rows["task"] == task]
        tables = tables_of(mine, task)
        folder = Path(output_dir)
        write_text(folder / f"{task}.csv", to_csv(mine))
        for kind in SUFFIXES[1:]:
            write_text(folder / f"{task}.{kind}", render(tables, kind))
