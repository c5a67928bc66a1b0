"""What smoothing is worth on held-out donors, drawn: its measures before and after, and shares of classes."""

from __future__ import annotations

import json
import os
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pathomix.core.errors import PathomixError
from pathomix.core.tables import read_table
from pathomix.report.style import INK, LOW, MUTED, PAGE, RULE, save, style
from pathomix.smoothing.files import KINDS, VALIDATION

WHEN = ("before", "after")
_MEASURES = {
    "composition_r2": "Composition $R^2$",
    "weight_spearman": "Spearman with $\\lambda$",
    "linearity_gap": "Linearity gap",
}
_COLOURS = {"before": "#9ec9e2", "after": LOW}
_TARGET, _AFTER, _BEFORE = "target_", "predicted_", "raw_"
# Points of a class in its panel: mixtures that hold it, and mixtures that do not.
_HOLDING, _OTHERS = 300, 60
_ACROSS = 5
_PANEL = 1.25  # inches
_LETTERS = 25  # of a title's line, five panels across


def plot_validation(
    name: str,
    validation: str | os.PathLike[str],
    predictions: str | os.PathLike[str],
    output: str | os.PathLike[str],
) -> None:
    """Write the validation of a smoothing as `<output>.pdf` and `<output>.png`.

    Args:
        name: Of the smoothing.
        validation: JSON report of `smoothing.stages.train_smoother`.
        predictions: Its VALIDATION table.
        output: Path without suffix.

    Raises:
        PathomixError: The report or the table is not what it should be, or they are not of one smoothing.
    """
    report = read_validation(validation)
    table = read_table(predictions, VALIDATION)
    absent = [f"{p}{c}" for c in report["classes"] for p in (_TARGET, _AFTER, _BEFORE) if f"{p}{c}" not in table]
    counts = {kind: int((table["kind"] == kind).sum()) for kind in KINDS}
    other = [f"{n} {kind}s, not {report['held_out'][f'{kind}s']}" for kind, n in counts.items()
             if n != report["held_out"][f"{kind}s"]]  # fmt: skip
    if absent or other:
        raise PathomixError(
            f"{predictions} is not the table of {validation}",
            offending=absent + other,
            remedy="run train_smoother again",
        )
    mixtures = table[table["kind"] == "mixture"]
    figure = validation_figure(name, report, mixtures)
    save(figure, Path(output), f"Smoothing: {name}", describe_validation(name, report))


def read_validation(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The JSON report.

    Raises:
        PathomixError: It cannot be read or lacks a measure.
    """
    try:
        report: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
        for when in WHEN:
            for measure in (*_MEASURES, "composition_r2_by_class", "top1_accuracy"):
                report[when][measure], report["reasons"][when]
        report["held_out"]["mixtures"], report["held_out"]["cells"], report["classes"], report["donors_held_out"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PathomixError(
            f"{path}: not a validation report ({type(error).__name__}: {error})", remedy="run train_smoother again"
        ) from error
    return report


def describe_validation(name: str, report: Mapping[str, Any]) -> str:
    """The figure in words."""
    held = report["held_out"]
    donors = report["donors_held_out"]
    who = f"of {donors} held-out donors" if donors else "held out one by one, donors not being known"
    parts = [
        f"Smoothing {name}: {held['mixtures']:,} mixtures of atlas cells and {held['cells']:,} single cells, {who}.",
        "Before: a linear readout of the raw embedding; after: the smoother's head.",
    ]
    words = {"composition_r2": "R2 of the composition", "weight_spearman": "Spearman of predicted weight with lambda"}
    words["linearity_gap"] = "linearity gap (squared distance of a mixture's vector from the mixture of its cells' "
    words["linearity_gap"] += "vectors over the variance of single cells; lower is better)"
    words["top1_accuracy"] = "top-1 accuracy on single cells"
    values = [
        f"{text} {' to '.join(_value(report, when, measure) for when in WHEN)}" for measure, text in words.items()
    ]
    parts.append(f"Before to after: {'; '.join(values)}.")
    reasons = {f"{m}: {why}": None for when in WHEN for m, why in report["reasons"][when].items()}
    if reasons:
        parts.append(f"Missing: {'; '.join(reasons)}.")
    parts.append(
        f"Panels: predicted against true share of each class; at most {_HOLDING} mixtures that hold the class and "
        f"{_OTHERS} that do not; numbers are R2 before and after; the diagonal is a perfect prediction."
    )
    return " ".join(parts)


def _value(report: Mapping[str, Any], when: str, measure: str) -> str:
    value = report[when][measure]
    return "missing" if value is None else f"{value:.3f}"


def validation_figure(name: str, report: Mapping[str, Any], mixtures: pd.DataFrame) -> Figure:
    """Draw bars of the measures, and predicted against true shares per class.

    Args:
        name: Words for the heading.
        report: From `read_validation`.
        mixtures: VALIDATION rows of mixtures.
    """
    classes = list(report["classes"])
    across = min(len(classes), _ACROSS)
    lines = -(-len(classes) // across)
    with style():
        figure = Figure(figsize=(PAGE, 1.95 + lines * (_PANEL + 0.3)), layout="constrained")
        figure.suptitle(name, x=0.01, ha="left", fontsize=8, fontweight="bold")
        rows = figure.add_gridspec(2, 1, height_ratios=(1.6, lines * (_PANEL + 0.3)))
        upper, lower = figure.add_subfigure(rows[0]), figure.add_subfigure(rows[1])
        for axes, measure in zip(upper.subplots(1, len(_MEASURES)), _MEASURES, strict=True):
            _bars(axes, report, measure)
        grid = lower.subplots(lines, across, squeeze=False, sharex=True, sharey=True).ravel()
        low, high = _share_limits(mixtures, classes)
        for place, (axes, class_label) in enumerate(zip(grid, classes, strict=False)):
            _shares(axes, report, mixtures, class_label)
            axes.set_ylim(low, high)
            axes.set_xlim(-0.04, 1.04)
            axes.tick_params(labelleft=place % across == 0, labelbottom=place + across >= len(classes))
        for axes in grid[len(classes) :]:
            axes.set_visible(False)
        lower.supxlabel("True share", fontsize=7)
        lower.supylabel("Predicted share", fontsize=7)
        handles = [
            Line2D([], [], linestyle="none", marker="o", markersize=4, color=_COLOURS[when], label=f"{when} smoothing")
            for when in WHEN
        ]
        figure.legend(handles=handles, loc="outside upper right", ncols=2, borderaxespad=0.2, handletextpad=0.1)
        return figure


def _bars(axes: Axes, report: Mapping[str, Any], measure: str) -> None:
    axes.set_title(_MEASURES[measure] + (" (lower is better)" if measure == "linearity_gap" else ""))
    values = [report[when][measure] for when in WHEN]
    known = [value for value in values if value is not None]
    low, high = min([0.0, *known]), max([0.0, *known])
    axes.set_ylim(low * 1.2, 1.12 if measure != "linearity_gap" or not high else high * 1.2)
    axes.set_xlim(-0.7, 1.7)
    axes.set_xticks([0, 1], list(WHEN))
    axes.axhline(0, color=INK, linewidth=0.6)
    axes.tick_params(bottom=False)
    for place, (when, value) in enumerate(zip(WHEN, values, strict=True)):
        if value is None:
            look: dict[str, Any] = {"color": MUTED, "style": "italic", "fontsize": 6.5, "ha": "center"}
            axes.text(place, 0.06, "missing", transform=axes.get_xaxis_transform(), **look)
            continue
        axes.bar(place, value, width=0.62, color=_COLOURS[when])
        side: dict[str, Any] = {"va": "bottom" if value >= 0 else "top", "ha": "center", "fontsize": 6.5}
        axes.annotate(
            f"{value:.3f}", (place, value), (0, 1.5 if value >= 0 else -1.5), textcoords="offset points", **side
        )


def _share_limits(mixtures: pd.DataFrame, classes: Sequence[str]) -> tuple[float, float]:
    """Range that holds the smoothed predictions whole, and of the raw ones the middle 99 %."""
    low, high = -0.04, 1.04
    for prefix, tail in ((_AFTER, 0.0), (_BEFORE, 0.005)):
        values = mixtures[[f"{prefix}{name}" for name in classes]].to_numpy(np.float64).ravel()
        if len(values):
            low, high = min(low, np.quantile(values, tail)), max(high, np.quantile(values, 1 - tail))
    return float(low), float(high)


def _shares(axes: Axes, report: Mapping[str, Any], mixtures: pd.DataFrame, name: str) -> None:
    axes.set_title("\n".join(textwrap.wrap(name, _LETTERS, break_long_words=False)), fontsize=6, pad=11)
    axes.plot([0, 1], [0, 1], color=RULE, linewidth=0.8, zorder=0)
    axes.set_xticks([0, 0.5, 1])
    axes.set_yticks([0, 0.5, 1])
    truth = mixtures[f"{_TARGET}{name}"]
    shown = pd.concat([mixtures[truth > 0].head(_HOLDING), mixtures[truth <= 0].head(_OTHERS)])
    # Rasterised: thousands of points would make a vector file slow to open.
    look: dict[str, Any] = {"linestyle": "none", "marker": "o", "markeredgewidth": 0, "rasterized": True}
    for when, prefix, size in (("before", _BEFORE, 2.0), ("after", _AFTER, 1.7)):
        values = shown[f"{prefix}{name}"]
        axes.plot(shown[f"{_TARGET}{name}"], values, color=_COLOURS[when], markersize=size, alpha=0.75, **look)
    each = [report[when]["composition_r2_by_class"].get(name) for when in WHEN]
    texts = ["missing" if value is None else f"{value:.2f}" for value in each]
    note = f"$R^2$ {texts[0]} \N{RIGHTWARDS ARROW} {texts[1]}"
    axes.text(0, 1.02, note, transform=axes.transAxes, fontsize=6, color=MUTED, va="bottom")
