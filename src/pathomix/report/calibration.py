"""Predicted against observed survival by groups of patients, one panel per cohort."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pathomix.core.tables import read_table
from pathomix.evaluate.calibration import CALIBRATION, D_CALIBRATION
from pathomix.evaluate.oracles import is_oracle
from pathomix.report.layout import Layout, p_text
from pathomix.report.style import COLUMN, MUTED, PAGE, method_looks, save, style

# More than this many methods in one panel hide each other: the others go to a further panel of the cohort.
PER_PANEL = 4
_WIDTHS = (COLUMN, 4.8, PAGE)  # inches, by panels across
_LEFT, _RIGHT, _TITLE, _AXIS, _LINE = 0.45, 0.1, 0.3, 0.42, 0.115  # inches
_LETTERS = 40


def plot_calibration(
    calibration_path: str | os.PathLike[str],
    d_calibration_path: str | os.PathLike[str],
    cohorts: Sequence[str],
    method_labels: Mapping[str, Any],
    output_dir: str | os.PathLike[str],
    method_order: Sequence[str] = (),
) -> None:
    """Write `calibration` as PDF and PNG.

    Args:
        calibration_path: CALIBRATION table of the study.
        d_calibration_path: D_CALIBRATION table of the study.
        cohorts: Cohorts in the order of the panels.
        method_labels: See `Layout.of`.
        output_dir: Where the figure goes.
        method_order: All methods of the project, which fixes their colours.
    """
    layout = Layout.of(cohorts, method_labels)
    groups, tests = read_table(calibration_path, CALIBRATION), read_table(d_calibration_path, D_CALIBRATION)
    figure = calibration_figure(groups, tests, layout, method_order)
    save(figure, Path(output_dir) / "calibration", "Calibration of survival", describe(groups, tests, layout))


def drawn_rows(groups: pd.DataFrame) -> pd.DataFrame:
    """Groups that can be drawn: both survival probabilities are known, and the method does not know the truth."""
    known = groups["predicted"].notna() & groups["observed"].notna()
    return groups[known & ~groups["method"].map(is_oracle)]


def describe(groups: pd.DataFrame, tests: pd.DataFrame, layout: Layout) -> str:
    """The figure in words."""
    shown = drawn_rows(groups)
    if shown.empty:
        return "Calibration: no row of this study predicts survival probabilities."
    parts = [
        "Calibration: groups of patients by predicted survival, their mean prediction against the Kaplan-Meier "
        "estimate with its 95 % interval, every patient once; on the diagonal both agree."
    ]
    for (cohort, scheme), rows in shown.groupby(["cohort", "scheme"], sort=False):
        horizons = " and ".join(f"{months:.0f}" for months in sorted(rows["horizon"].dropna().unique()))
        parts.append(f"{cohort} ({scheme}): survival at {horizons} months.")
        mine = tests[(tests["cohort"] == cohort) & (tests["scheme"] == scheme)].set_index("method")
        for method in layout.ordered_methods(rows["method"]):
            parts.append(f"{layout.label(method).label}: D-calibration {_test(mine, method)}.")
    absent = groups[groups["reason"].notna() & ~groups["method"].map(is_oracle)]
    for row in absent.drop_duplicates(["method", "cohort", "scheme"]).to_dict("records"):
        parts.append(f"{layout.label(row['method']).label} on {row['cohort']}: {row['reason']}.")
    return " ".join(parts)


def _test(tests: pd.DataFrame, method: str) -> str:
    """``p = 0.31``, or why there is none; `tests` by method."""
    if method not in tests.index:
        return "not tested"
    p = float(tests["p"][method])
    return f"not tested, {tests['reason'][method]}" if np.isnan(p) else p_text(p)


def calibration_figure(
    groups: pd.DataFrame, tests: pd.DataFrame, layout: Layout, method_order: Sequence[str] = ()
) -> Figure:
    """Draw a panel per cohort and scheme, and further ones where there are many methods.

    Args:
        groups: CALIBRATION rows.
        tests: D_CALIBRATION rows.
        layout: Order and labels of cohorts and methods.
        method_order: All methods of the project, which fixes their colours; none takes those of the layout.
    """
    shown = drawn_rows(groups)
    with style():
        if shown.empty:
            figure = Figure(figsize=(COLUMN, 0.6))
            look: dict[str, Any] = {"ha": "center", "va": "center", "color": MUTED}
            figure.text(0.5, 0.5, "No row of this study predicts survival probabilities.", **look)
            return figure
        panels = _panels(shown, layout)
        looks = method_looks(layout.ordered_methods(shown["method"]), method_order or list(layout.methods))
        across = min(len(panels), len(_WIDTHS))
        lines, width = -(-len(panels) // across), _WIDTHS[across - 1]
        pitch = width / across
        side = pitch - _LEFT - _RIGHT
        entries = [_entries(rows, methods, tests, layout) for _, rows, methods in panels]
        legend = _LINE * (max(sum(text.count("\n") + 1 for text in texts.values()) for texts in entries) + 1)
        tall = _TITLE + side + _AXIS + legend
        figure = Figure(figsize=(width, lines * tall))
        for place, (title, rows, _) in enumerate(panels):
            line, column = divmod(place, across)
            left, bottom = column * pitch + _LEFT, (lines - line) * tall - _TITLE - side
            box = left / width, bottom / (lines * tall), side / width, side / (lines * tall)
            axes = figure.add_axes(box)
            axes.set_title(title, pad=4)
            _panel(axes, rows, entries[place], looks)
            axes.set_ylabel("Observed survival" if column == 0 else "")
            anchor = (0.0, -_AXIS / side)
            axes.legend(
                loc="upper left",
                bbox_to_anchor=anchor,
                borderaxespad=0.0,
                handlelength=1.2,
                fontsize=6,
                labelspacing=0.25,
            )
        return figure


def _panels(shown: pd.DataFrame, layout: Layout) -> list[tuple[str, pd.DataFrame, list[str]]]:
    """Title, rows and methods of each panel, cohorts in their order, at most `PER_PANEL` methods in one."""
    found = []
    places = list(dict.fromkeys(shown[["cohort", "scheme"]].itertuples(index=False, name=None)))
    order = layout.ordered_cohorts(shown["cohort"])
    for cohort, scheme in sorted(places, key=lambda place: (order.index(place[0]), place[1])):
        rows = shown[(shown["cohort"] == cohort) & (shown["scheme"] == scheme)]
        methods = layout.ordered_methods(rows["method"])
        parts = [list(part) for part in np.array_split(methods, -(-len(methods) // PER_PANEL))]
        repeated = sum(cohort == other for other, _ in places) > 1
        for number, part in enumerate(parts, start=1):
            title = f"{cohort} ({scheme})" if repeated else cohort
            title += f", {number} of {len(parts)}" if len(parts) > 1 else ""
            found.append((title, rows[rows["method"].isin(part)], part))
    return found


def _entries(rows: pd.DataFrame, methods: Sequence[str], tests: pd.DataFrame, layout: Layout) -> dict[str, str]:
    """Legend of a panel: label and D-calibration of each method."""
    first = rows.iloc[0]
    mine = tests[(tests["cohort"] == first["cohort"]) & (tests["scheme"] == first["scheme"])].set_index("method")
    texts = {}
    for method in methods:
        p = _test(mine, method).partition(",")[0].replace(" ", "\N{NO-BREAK SPACE}")
        texts[method] = "\n".join(textwrap.wrap(f"{layout.label(method).label} ({p})", _LETTERS))
    return texts


def _panel(axes: Axes, rows: pd.DataFrame, entries: Mapping[str, str], looks: Mapping[str, tuple[str, str]]) -> None:
    """Diagonal, and by method its groups with their intervals; `entries` are the labels."""
    axes.set_aspect("equal")
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xticks=np.linspace(0, 1, 6), yticks=np.linspace(0, 1, 6))
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.7, linestyle=(0, (1, 1.6)), zorder=0)
    horizons = " and ".join(f"{months:.0f}" for months in sorted(rows["horizon"].dropna().unique()))
    axes.set_xlabel(f"Predicted survival at {horizons} months")
    for method, text in entries.items():
        mine = rows[rows["method"] == method].sort_values("predicted")
        colour, marker = looks[method]
        low, high = (mine[f"observed_{end}"].fillna(mine["observed"]) for end in ("lower", "upper"))
        axes.vlines(mine["predicted"], low, high, color=colour, linewidth=0.8, alpha=0.6)
        edge: dict[str, Any] = {"markeredgecolor": "white", "markeredgewidth": 0.5, "linewidth": 0.9}
        axes.plot(mine["predicted"], mine["observed"], marker=marker, color=colour, markersize=4, label=text, **edge)
