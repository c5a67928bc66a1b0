"""Audit figure of a split: what every test part holds beside what the cohort holds, and where its sites lie."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from pathomix.core.errors import PathomixError
from pathomix.report.style import COLUMN, INK, LOW, MUTED, RULE, method_looks, save, style

_SITES = 24  # rows of the site panel; smaller sites share one row
_CLASSES = 6  # coloured classes; smaller ones share one colour
_ROW = 0.105  # inches, of a site
_KEY = 0.45  # inches from the site panel down to its key
_UNKNOWN = "unknown"
_POINTS = 5  # half-width of the band around the cohort's share of events, in percentage points


@dataclass(frozen=True)
class _Parts:
    """The columns of the figure: test parts of all folds, or all parts of the only fold."""

    labels: list[str]
    contents: list[Mapping[str, Any]]
    axis: str

    @classmethod
    def of(cls, audit: Mapping[str, Any]) -> _Parts:
        folds = audit["folds"]
        if len(folds) == 1:
            parts = folds[0]["parts"]
            names = [name for name in ("train", "valid", "test") if name in parts]
            return cls(names, [parts[name] for name in names], "part")
        tested = [fold for fold in folds if "test" in fold["parts"]]
        return cls([str(f["fold"]) for f in tested], [f["parts"]["test"] for f in tested], "test part of fold")


def describe(audit: Mapping[str, Any], scheme: str) -> str:
    """The figure in words."""
    cohort, worst = audit["cohort"], audit["worst"]
    event, label = worst["event_share_points"], worst["largest_class_points"]
    two = worst["test_sites_on_two_sides"]
    sentences = [
        f"Split {scheme} of {audit['name']}: {cohort['patients']} patients, {cohort['events']} events,"
        f" {len(cohort['sites'])} tissue source sites, {len(audit['folds'])} folds.",
        "Top to bottom: share of events, with the cohort's as a line and 5 points around it shaded; classes; median"
        " follow-up (reverse Kaplan-Meier); share of every site's patients in each part.",
    ]
    if event is not None:
        sentences.append(f"A test part's share of events is off by {abs(event):.1f} percentage points at most.")
    if label is not None and len(cohort["classes"]) > 1:
        sentences.append(f"A class's share is off by {abs(label):.1f} points at most.")
    sentences.append(
        f"Up to {two} sites of a test part, with {worst['test_patients_on_two_sides']} of its patients, also train."
        if two
        else "No site of a test part also trains."
    )
    sentences += [f"Given up: {entry['rule']} ({entry['why']})." for entry in audit["relaxed"]]
    return " ".join(sentences)


def split_figure(audit: Mapping[str, Any], scheme: str) -> Figure:
    """Draw an audit (`cohort.split_audit.audit_splits`) at the width of one column.

    Args:
        audit: The audit.
        scheme: Name of the scheme in the configuration.
    """
    parts = _Parts.of(audit)
    rows = _site_rows(audit["cohort"]["sites"])
    heights = [0.85, 1.0, 0.6, max(len(rows), 2) * _ROW]
    keys = _class_keys(audit["cohort"]["classes"])
    below_classes = 0.22 + 0.1 * -(-len(keys) // _key_columns(keys))
    gaps, top, bottom = (0.3, below_classes, 0.3), 0.42, _KEY + 0.2
    total = sum(heights) + sum(gaps) + top + bottom
    with style():
        figure = Figure(figsize=(COLUMN, total))
        panels, above = [], total - top
        for height, gap in zip(heights, (*gaps, 0.0), strict=True):
            above -= height
            panels.append(figure.add_axes((0.6 / COLUMN, above / total, (COLUMN - 0.68) / COLUMN, height / total)))
            above -= gap
        figure.suptitle(
            f"{audit['name']}, {scheme}", x=0.6 / COLUMN, y=1 - 0.06 / total, ha="left", va="top", fontsize=8,
            fontweight="bold",
        )  # fmt: skip
        for axes in panels:
            axes.set_xlim(-1.6, len(parts.labels) - 0.4)
            axes.set_xticks([])
            axes.tick_params(bottom=False)
        _events(panels[0], parts, audit["cohort"])
        _classes(panels[1], parts, audit["cohort"])
        _follow_up(panels[2], parts, audit["cohort"])
        _sites(panels[3], parts, rows, audit)
        return figure


def plot_splits(audit_path: Path, scheme: str, output_dir: Path) -> None:
    """Write ``splits_<cohort>_<scheme>.{pdf,png}``.

    Raises:
        PathomixError: The file is not an audit.
    """
    audit = json.loads(audit_path.read_text(encoding="utf-8"))
    if not {"name", "cohort", "folds", "worst"} <= set(audit):
        raise PathomixError(f"{audit_path} is no audit of a split", remedy="name a file that split_cohort has written")
    name = audit["name"]
    figure = split_figure(audit, scheme)
    save(figure, output_dir / f"splits_{name}_{scheme}", f"Split {scheme} of {name}", describe(audit, scheme))


def _title(axes: Axes, text: str) -> None:
    axes.set_title(text, fontsize=6.5, fontweight="normal", color=MUTED, pad=3)


def _reference(axes: Axes, value: float | None) -> None:
    if value is not None:
        axes.axhline(value, color=INK, linewidth=0.7, linestyle=(0, (4, 2)), zorder=1)


def _dots(axes: Axes, parts: _Parts, values: Sequence[float | None]) -> None:
    for place, value in enumerate(values):
        if value is None:
            axes.text(place, 0.5, "none", transform=axes.get_xaxis_transform(), color=MUTED, ha="center", fontsize=5.5)
        else:
            axes.plot(place, value, "o", color=LOW, markersize=3.6, zorder=3)


def _events(axes: Axes, parts: _Parts, cohort: Mapping[str, Any]) -> None:
    shares = [None if c["event_share"] is None else 100 * c["event_share"] for c in parts.contents]
    whole = None if cohort["event_share"] is None else 100 * cohort["event_share"]
    _title(axes, "Events, % of known outcomes (number)")
    if whole is not None:
        axes.axhspan(max(0.0, whole - _POINTS), whole + _POINTS, color=RULE, alpha=0.45, linewidth=0, zorder=0)
    _reference(axes, whole)
    _dots(axes, parts, shares)
    shown = [*(s for s in shares if s is not None), *([] if whole is None else [whole - _POINTS, whole + _POINTS])]
    low, high = (min(shown), max(shown)) if shown else (0.0, 100.0)
    axes.set_ylim(max(-1.0, low - 3), high + 6)
    many = len(parts.labels) > 10
    for place, (share, contents) in enumerate(zip(shares, parts.contents, strict=True)):
        if share is not None:
            text: dict[str, Any] = {"ha": "center", "va": "bottom", "fontsize": 5.0 if many else 6.0, "color": INK}
            axes.annotate(str(contents["events"]), (place, share), (0, 3), textcoords="offset points", **text)
    if whole is not None:
        axes.text(-1.0, whole, f"{cohort['events']}", ha="center", va="bottom", fontsize=6.0)


def _class_keys(classes: Mapping[str, int]) -> dict[str, list[str]]:
    """Key of every colour and the classes it stands for, largest first."""
    known = sorted((c for c in classes if c != _UNKNOWN), key=lambda c: (-classes[c], c))
    keys = {name: [name] for name in known[:_CLASSES]}
    keys |= {"other": known[_CLASSES:]} if known[_CLASSES:] else {}
    return keys | ({"no class": [_UNKNOWN]} if _UNKNOWN in classes else {})


def _key_columns(keys: Mapping[str, Any]) -> int:
    """Columns of the key of classes that fit the width."""
    longest = max(map(len, keys))
    return min(len(keys), 4 if longest <= 8 else 3 if longest <= 14 else 2 if longest <= 24 else 1)


def _classes(axes: Axes, parts: _Parts, cohort: Mapping[str, Any]) -> None:
    keys = _class_keys(cohort["classes"])
    shown = [key for key in keys if key not in ("other", "no class")]
    # The looks of methods are the package's palette: classes borrow its colours, in their own order.
    looks = method_looks([f"class {name}" for name in shown]).values()
    colours = {name: look[0] for name, look in zip(shown, looks, strict=True)}
    colours |= {"other": MUTED, "no class": RULE}
    bottom = np.zeros(len(parts.labels) + 1)
    every = [cohort, *parts.contents]
    for key, names in keys.items():
        share = [100 * sum(c["classes"].get(n, 0) for n in names) / max(c["patients"], 1) for c in every]
        look: dict[str, Any] = {"color": colours[key], "edgecolor": "white", "linewidth": 0.5, "label": key}
        axes.bar(np.arange(-1, len(parts.labels)), share, 0.78, bottom=bottom, **look)
        bottom += share
    axes.set_ylim(0, 100)
    axes.set_yticks([0, 50, 100])
    _title(axes, "Classes, %")
    axes.legend(
        loc="upper left", bbox_to_anchor=(-0.02, -0.02), ncol=_key_columns(keys), fontsize=5.8, handlelength=0.9,
        handleheight=0.7, columnspacing=0.9, handletextpad=0.4, borderpad=0.1, labelspacing=0.2,
    )  # fmt: skip


def _follow_up(axes: Axes, parts: _Parts, cohort: Mapping[str, Any]) -> None:
    values = [c["median_follow_up_months"] for c in parts.contents]
    whole = cohort["median_follow_up_months"]
    _title(axes, "Median follow-up, months")
    _reference(axes, whole)
    _dots(axes, parts, values)
    known = [v for v in (*values, whole) if v is not None]
    axes.set_ylim(0, 1.25 * max(known, default=1.0))


def _site_rows(sites: Mapping[str, int]) -> list[tuple[str, list[str]]]:
    """Label and sites of every row, largest first."""
    ranked = sorted(sites, key=lambda s: (-sites[s], s))
    alone = ranked if len(ranked) <= _SITES + 1 else ranked[:_SITES]
    rows = [(f"{name} ({sites[name]})", [name]) for name in alone]
    rest = ranked[len(alone) :]
    return rows + ([(f"{len(rest)} more ({sum(sites[s] for s in rest)})", rest)] if rest else [])


def _sites(axes: Axes, parts: _Parts, rows: list[tuple[str, list[str]]], audit: Mapping[str, Any]) -> None:
    whole, two = audit["cohort"]["sites"], audit["worst"]["test_sites_on_two_sides"]
    held = f"up to {two} of a test part also train" if two else "none of a test part also trains"
    _title(axes, f"Sites (patients): {held}")
    if not rows:
        axes.text(0.5, 0.5, "no patient has a site", transform=axes.transAxes, ha="center", va="center", color=MUTED)
    colours = LinearSegmentedColormap.from_list("sites", ["#ffffff", "#9ecae1", LOW, "#08306b"])
    for line, (_, names) in enumerate(rows):
        total = sum(whole[name] for name in names)
        for place, contents in enumerate(parts.contents):
            share = sum(contents["sites"].get(name, 0) for name in names) / total
            box: dict[str, Any] = {
                "width": 0.86,
                "height": 0.86,
                "linewidth": 0.3,
                "edgecolor": RULE,
                "facecolor": colours(share),
            }
            axes.add_patch(Rectangle((place - 0.43, line - 0.43), **box))
    axes.set_ylim(max(len(rows), 2) - 0.4, -0.6)
    axes.set_yticks(range(len(rows)), [label for label, _ in rows], fontsize=5.2)
    axes.tick_params(axis="y", left=False, pad=-8)
    axes.spines["left"].set_visible(False)
    axes.spines["bottom"].set_visible(False)
    many = len(parts.labels) > 10
    sizes = [f"{label}\n{c['patients']}" for label, c in zip(parts.labels, parts.contents, strict=True)]
    whole_label = f"all\n{audit['cohort']['patients']}"
    axes.set_xticks(range(-1, len(sizes)), [whole_label, *sizes], fontsize=5.0 if many else 6.0)
    axes.set_xlabel(f"{parts.axis}, and its number of patients", fontsize=6.5)
    keys = [Rectangle((0, 0), 1, 1, facecolor=colours(s), edgecolor=RULE, linewidth=0.3) for s in (0.0, 0.5, 1.0)]
    axes.legend(
        keys, ["0", "50", "100 % of a site's patients"], loc="upper left", ncol=3, fontsize=5.8, handlelength=0.9,
        bbox_to_anchor=(-0.02, -_KEY / (max(len(rows), 2) * _ROW)), handleheight=0.7, columnspacing=0.9,
        handletextpad=0.4, borderpad=0.1,
    )  # fmt: skip
