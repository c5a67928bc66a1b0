"""Forest plot: every row of a results table as a point with its interval, one panel per cohort."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pathomix.core.schemas import TASKS
from pathomix.core.tables import read_table
from pathomix.evaluate.metrics import METRICS, metrics_of
from pathomix.evaluate.oracles import ORACLE, is_oracle
from pathomix.evaluate.schemas import SCORES
from pathomix.report.layout import Layout
from pathomix.report.style import COLUMN, INK, MUTED, PAGE, RULE, method_looks, save, style
from pathomix.report.tables import tidy

_ROW = 0.185  # inches
_LINE = 0.095  # inches a further line of a label adds to every row
_TOP, _BOTTOM = 0.28, 0.45  # inches above and below the rows of a panel
_LETTERS = {COLUMN: 24, PAGE: 40}
_LETTER = 0.058  # inches


def _sentence(metric: str) -> str:
    label = METRICS[metric].label
    return label[0].upper() + label[1:]


def describe(rows: pd.DataFrame, metric: str) -> str:
    """The figure in words."""
    parts = [
        f"{_sentence(metric)} of every method: points are means over folds, "
        "thick lines 95 % patient-bootstrap intervals, thin lines 95 % t-intervals over folds."
    ]
    if (rows["method"] == ORACLE).any():
        parts.append("The grey band is the oracle's bootstrap interval.")
    for row in rows[rows["resolvable"].notna()].drop_duplicates(["cohort", "scheme"]).to_dict("records"):
        parts.append(f"{row['cohort']} resolves differences of {row['resolvable']:.3f} or more.")
    if (rows["resolvable"].notna() & rows["reference"].notna()).any():
        parts.append("The bracket over a panel spans what it cannot resolve around its reference row, the tick.")
    if METRICS[metric].chance is not None:
        parts.append(f"The dotted line ({METRICS[metric].chance:g}) is a prediction without information.")
    return " ".join(parts)


def forest_figure(rows: pd.DataFrame, metric: str, layout: Layout, method_order: Sequence[str] = ()) -> Figure:
    """Draw one metric.

    Args:
        rows: Tidy rows (`report.tables.tidy`), in the order to show.
        metric: Metric to draw.
        layout: Order and labels of the methods.
        method_order: All methods of the project, which fixes their colours; none takes those of the layout.
    """
    rows = rows[rows["metric"] == metric]
    places = list(rows[["cohort", "scheme"]].drop_duplicates().itertuples(index=False, name=None))
    if not places:
        return _empty()
    methods = layout.ordered_methods(rows["method"])
    columns = min(len(places), 3)
    lines = -(-len(places) // columns)
    with style():
        width = COLUMN if columns == 1 else PAGE
        labels = ["\n".join(textwrap.wrap(layout.label(method).label, _LETTERS[width])) for method in methods]
        row = _ROW + _LINE * max(label.count("\n") for label in labels)
        height = lines * (len(methods) * row + _TOP + _BOTTOM)
        figure = Figure(figsize=(width, height))
        panels = np.atleast_1d(figure.subplots(lines, columns, sharey=True, sharex=True, squeeze=False)).ravel()
        edge = _LETTER * max(len(line) for label in labels for line in label.split("\n")) + 0.12
        gap = (_TOP + _BOTTOM) / (len(methods) * row)
        figure.subplots_adjust(
            left=edge / width,
            right=1 - 0.08 / width,
            top=1 - _TOP / height,
            bottom=_BOTTOM / height,
            wspace=0.08,
            hspace=gap,
        )
        looks = method_looks(methods, method_order or list(layout.methods))
        for axes, (cohort, scheme) in zip(panels, places, strict=False):
            mine = rows[(rows["cohort"] == cohort) & (rows["scheme"] == scheme)].set_index("method")
            repeated = sum(cohort == other for other, _ in places) > 1
            _panel(axes, mine, methods, metric, f"{cohort} ({scheme})" if repeated else cohort, looks)
        for axes in panels[len(places) :]:
            axes.set_visible(False)
        for place in range(max(0, len(places) - columns), len(places)):
            panels[place].tick_params(labelbottom=True)
            panels[place].set_xlabel(_sentence(metric))
        _names(panels[::columns], methods, labels)
        return figure


def _empty() -> Figure:
    with style():
        figure = Figure(figsize=(COLUMN, 0.6))
        figure.text(0.5, 0.5, "No run of this study predicts this task.", ha="center", va="center", color=MUTED)
        return figure


def _names(panels: Iterable[Axes], methods: list[str], labels: list[str]) -> None:
    for axes in panels:
        axes.set_yticks(range(len(methods)), labels, linespacing=0.95)
        axes.set_ylim(len(methods) - 0.4, -0.6)
        for text, method in zip(axes.get_yticklabels(), methods, strict=True):
            text.set_color(MUTED if is_oracle(method) else INK)


def _missing(axes: Axes, place: int) -> None:
    look: dict[str, Any] = {"color": MUTED, "style": "italic", "fontsize": 6, "ha": "center", "va": "center"}
    look["bbox"] = {"facecolor": "white", "edgecolor": "none", "pad": 1}
    axes.text(0.5, place, "missing", transform=axes.get_yaxis_transform(), **look)


def _resolution(axes: Axes, mine: pd.DataFrame) -> None:
    """Bracket around the reference row: what lies inside is no difference this cohort can show."""
    known = mine[mine["resolvable"].notna() & mine["reference"].notna()]
    if known.empty or known["reference"].iloc[0] not in mine.index:
        return
    centre = mine.loc[known["reference"].iloc[0], "mean"]
    if pd.isna(centre):
        return
    ends = centre - known["resolvable"].iloc[0], centre + known["resolvable"].iloc[0]
    look: dict[str, Any] = {"color": MUTED, "clip_on": False, "transform": axes.get_xaxis_transform()}
    axes.plot(ends, [1.0, 1.0], linewidth=1.0, marker="|", markersize=4, markeredgewidth=1.0, **look)
    axes.plot([centre], [1.0], linestyle="none", marker="|", markersize=6, markeredgewidth=1.4, **look)


def _panel(
    axes: Axes, mine: pd.DataFrame, methods: list[str], metric: str, title: str, looks: dict[str, tuple[str, str]]
) -> None:
    axes.set_title(title, pad=6)
    _resolution(axes, mine)
    axes.tick_params(left=False)
    axes.spines["left"].set_visible(False)
    chance = METRICS[metric].chance
    if chance is not None:
        axes.axvline(chance, color=MUTED, linewidth=0.7, linestyle=(0, (1, 1.6)), zorder=0)
    for place, method in enumerate(methods):
        axes.axhline(place, color=RULE, linewidth=0.3, zorder=0)
        if method not in mine.index or pd.isna(mine.loc[method, "mean"]):
            _missing(axes, place)
            continue
        row, (colour, marker) = mine.loc[method].to_dict(), looks[method]
        if method == ORACLE and pd.notna(row["lower"]):
            axes.axvspan(row["lower"], row["upper"], color=MUTED, alpha=0.10, linewidth=0, zorder=-1)
        if pd.notna(row["half_width"]):
            ends = row["mean"] - row["half_width"], row["mean"] + row["half_width"]
            axes.plot(np.clip(ends, 0, 1), [place, place], color=colour, linewidth=0.7, solid_capstyle="butt")
        if pd.notna(row["lower"]):
            axes.plot([row["lower"], row["upper"]], [place, place], color=colour, linewidth=2.2, solid_capstyle="butt")
        edge: dict[str, Any] = {"markeredgecolor": "white", "markeredgewidth": 0.6}
        axes.plot(row["mean"], place, marker, color=colour, markersize=4.2, **edge)


def plot_forests(
    scores_path: str | os.PathLike[str],
    cohorts: Sequence[str],
    method_labels: Mapping[str, Any],
    output_dir: str | os.PathLike[str],
    method_order: Sequence[str] = (),
) -> None:
    """Write `forest_<task>` of every task as PDF and PNG.

    Args:
        scores_path: SCORES table of the study.
        cohorts: Cohorts in the order of the panels.
        method_labels: See `Layout.of`.
        output_dir: Where the figures go.
        method_order: All methods of the project, which fixes their colours.
    """
    layout = Layout.of(cohorts, method_labels)
    rows = tidy(read_table(scores_path, SCORES), layout)
    for task in TASKS:
        metric = metrics_of(task)[0].name
        mine = rows[rows["metric"] == metric]
        figure = forest_figure(mine, metric, layout, method_order)
        save(figure, Path(output_dir) / f"forest_{task}", f"All rows: {task}", describe(mine, metric))
