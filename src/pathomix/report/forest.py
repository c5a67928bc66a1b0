"""Forest plot: every row of a results table as a point with its interval, one panel per cohort."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pathomix.evaluate.metrics import METRICS
from pathomix.report.layout import ORACLE, Layout, is_oracle
from pathomix.report.style import COLUMN, INK, MUTED, PAGE, RULE, method_looks, style

_ROW = 0.185  # inches
_MARGIN = 0.85  # inches above and below the rows of a panel


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
    if METRICS[metric].chance is not None:
        parts.append(f"The dotted line ({METRICS[metric].chance:g}) is a prediction without information.")
    return " ".join(parts)


def forest_figure(rows: pd.DataFrame, metric: str, layout: Layout) -> Figure:
    """Draw one metric.

    Args:
        rows: Tidy rows (`report.tables.tidy`), in the order to show.
        metric: Metric to draw.
        layout: Order and labels of all methods, which fixes their colours.
    """
    rows = rows[rows["metric"] == metric]
    places = list(rows[["cohort", "scheme"]].drop_duplicates().itertuples(index=False, name=None))
    if not places:
        return _empty()
    methods = layout.ordered_methods(rows["method"])
    columns = min(len(places), 3)
    lines = -(-len(places) // columns)
    with style():
        height = lines * (len(methods) * _ROW + _MARGIN)
        width = COLUMN if columns == 1 else PAGE
        figure = Figure(figsize=(width, height))
        panels = np.atleast_1d(figure.subplots(lines, columns, sharey=True, sharex=True, squeeze=False)).ravel()
        edge = 0.058 * max(len(layout.label(method).label) for method in methods) + 0.12
        gap = _MARGIN / (len(methods) * _ROW)
        figure.subplots_adjust(
            left=edge / width,
            right=1 - 0.08 / width,
            top=1 - 0.4 / height,
            bottom=0.45 / height,
            wspace=0.08,
            hspace=gap,
        )
        for axes, (cohort, scheme) in zip(panels, places, strict=False):
            mine = rows[(rows["cohort"] == cohort) & (rows["scheme"] == scheme)].set_index("method")
            repeated = sum(cohort == other for other, _ in places) > 1
            _panel(axes, mine, methods, metric, f"{cohort} ({scheme})" if repeated else cohort)
        for axes in panels[len(places) :]:
            axes.set_visible(False)
        for place in range(max(0, len(places) - columns), len(places)):
            panels[place].tick_params(labelbottom=True)
            panels[place].set_xlabel(_sentence(metric))
        _names(panels[::columns], methods, layout)
        return figure


def _empty() -> Figure:
    with style():
        figure = Figure(figsize=(COLUMN, 0.6))
        figure.text(0.5, 0.5, "No run of this study predicts this task.", ha="center", va="center", color=MUTED)
        return figure


def _names(panels: Iterable[Axes], methods: list[str], layout: Layout) -> None:
    for axes in panels:
        axes.set_yticks(range(len(methods)), [layout.label(method).label for method in methods])
        axes.set_ylim(len(methods) - 0.4, -0.6)
        for text, method in zip(axes.get_yticklabels(), methods, strict=True):
            text.set_color(MUTED if is_oracle(method) else INK)


def _missing(axes: Axes, place: int) -> None:
    look: dict[str, Any] = {"color": MUTED, "style": "italic", "fontsize": 6, "ha": "center", "va": "center"}
    look["bbox"] = {"facecolor": "white", "edgecolor": "none", "pad": 1}
    axes.text(0.5, place, "missing", transform=axes.get_yaxis_transform(), **look)


def _panel(axes: Axes, mine: pd.DataFrame, methods: list[str], metric: str, title: str) -> None:
    axes.set_title(title, pad=4)
    axes.tick_params(left=False)
    axes.spines["left"].set_visible(False)
    looks = method_looks(methods)
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
