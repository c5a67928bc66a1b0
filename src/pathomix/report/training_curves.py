"""How the rows of a study learnt: loss and scores by epoch, mean and band over folds and seeds, and the epoch kept.

Read are histories with one row per epoch: of networks, of their stages and components, and of representations. Rows of
a study that are fitted without epochs (ridge, Cox) are named in the description.
"""

from __future__ import annotations

import logging
import os
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from pathomix.core.errors import PathomixError
from pathomix.core.schemas import MODEL_INDEX
from pathomix.core.tables import read_table
from pathomix.evaluate.oracles import is_oracle
from pathomix.report.histories import read_history, read_run_indices
from pathomix.report.layout import Layout
from pathomix.report.style import COLUMN, INK, MUTED, PAGE, method_looks, save, style

LOG = logging.getLogger(__name__)

MEASURES = ("loss", "train", "valid")
TEXTS = "label texts"
_ACROSS = 4
_HEIGHTS = (0.95, 0.95)  # inches
_TITLE = 19  # characters of a title's line, at four panels across
_SHOWN = 3
_TRAIN, _VALID = "c_log_hazard_train", "c_log_hazard_valid"
_DASHED = (0, (4, 1.2))


@dataclass(frozen=True)
class Curves:
    """One row of a study on one task.

    Attributes:
        method: Name of the row.
        label: How the row is written.
        task: What is learnt: ``survival``, ``subtype`` or ``label texts``, and by which component if there are several.
        mean: Index `epoch`, counted from 1; columns `MEASURES`: means over the runs that came so far.
        spread: The same shape: standard deviations over runs; NaN with one.
        kept: Epoch each run kept.
        by_score: Whether it was the one with the best score on the valid part; else the last.
        breaks: Last epochs of the stages before the last one.
        left_out: Runs that could not be read, with reasons.
    """

    method: str
    label: str
    task: str
    mean: pd.DataFrame
    spread: pd.DataFrame
    kept: tuple[int, ...]
    by_score: bool
    breaks: tuple[int, ...]
    left_out: tuple[str, ...]

    @property
    def scored(self) -> bool:
        """Whether anything but the loss was measured."""
        return bool(self.mean[["train", "valid"]].notna().any(axis=None))


@dataclass(frozen=True)
class Drawn:
    """What a cohort's rows left: curves, labels of rows without epochs, and of rows no run of which can be read."""

    curves: tuple[Curves, ...]
    without: tuple[str, ...]
    unreadable: Mapping[str, str]


def plot_training(
    indices: Sequence[str | os.PathLike[str]],
    results: str | os.PathLike[str],
    cohort: str,
    method_labels: Mapping[str, Any],
    representations: Mapping[str, Sequence[str]],
    output_dir: str | os.PathLike[str],
    method_order: Sequence[str] = (),
) -> None:
    """Write `training_<cohort>` as PDF and PNG.

    Args:
        indices: RUN_INDEX tables; rows of other cohorts and oracles are passed over.
        results: Folder the paths in the indices start from.
        cohort: The cohort.
        method_labels: See `Layout.of`.
        representations: Row to the MODEL_INDEX tables of the representation it reads.
        output_dir: Where the figure goes.
        method_order: All methods of the project, which fixes their colours.

    Raises:
        PathomixError: An index is not one, or the indices repeat a run or belong to different studies.
    """
    drawn = read_curves(indices, results, cohort, Layout.of([cohort], method_labels), representations)
    figure = training_figure(drawn, cohort, method_order or list(method_labels))
    save(figure, Path(output_dir) / f"training_{cohort}", f"Training curves: {cohort}", describe(drawn, cohort))


def read_curves(
    indices: Sequence[str | os.PathLike[str]],
    results: str | os.PathLike[str],
    cohort: str,
    layout: Layout,
    representations: Mapping[str, Sequence[str]],
) -> Drawn:
    """Curves of a cohort's rows in the order of the layout; arguments and errors as of `plot_training`."""
    index = read_run_indices(indices)
    index = index[(index["cohort"] == cohort) & ~index["method"].map(is_oracle)]
    unknown = sorted(set(representations) - set(index["method"]))
    if unknown:
        raise PathomixError("not rows of this study and cohort", offending=unknown, remedy="correct --representations")
    root, curves, without, unreadable = Path(results), [], [], {}
    for method in layout.ordered_methods(index["method"]):
        label = layout.label(method).label
        read = _read(root, index[index["method"] == method])
        if method in representations:
            frames = [read_table(path, MODEL_INDEX) for path in representations[method]]
            models = pd.concat(frames, ignore_index=True)
            read |= {(TEXTS, *key): item for key, item in _read(root, models[models["inner"] == 0]).items()}
        found = list(_curves(method, label, read))
        curves += found
        problems = [item for item in read.values() if isinstance(item, str)]
        if not found and problems and len(problems) == len(read):
            unreadable[label] = problems[0]
        elif not found:
            without.append(label)
    return Drawn(tuple(curves), tuple(without), unreadable)


def _read(root: Path, rows: pd.DataFrame) -> dict[tuple[Any, ...], pd.DataFrame | str]:
    """History of each fold and seed, or why there is none."""
    return {(row["fold"], row["seed"]): read_history(root, row) for row in rows.to_dict("records")}


def _curves(method: str, label: str, read: Mapping[tuple[Any, ...], pd.DataFrame | str]) -> Iterator[Curves]:
    """Curves of every task, and of every component that learns by epochs."""
    runs: dict[tuple[str, str], dict[tuple[Any, ...], pd.DataFrame]] = {}
    left_out: list[str] = []
    for key, history in read.items():
        if isinstance(history, str):
            fold, seed = key[-2:]
            left_out.append(f"fold {fold} seed {seed} ({history})")
            continue
        for task, component, epochs in _epochs(history, TEXTS if key[0] == TEXTS else None):
            runs.setdefault((task, component), {})[key] = epochs
    for (task, component), found in runs.items():
        stacked = pd.concat(found, names=[*(f"run{i}" for i in range(len(next(iter(found))))), "epoch"])
        over = stacked[list(MEASURES)].groupby("epoch")
        scored = [frame for frame in found.values() if frame["score"].notna().any()]
        kept = tuple(int(f["score"].idxmax()) if f["score"].notna().any() else len(f) for f in found.values())
        first = next(iter(found.values()))
        stages = first["stage"].to_numpy()
        breaks = tuple(int(place) for place in np.flatnonzero(stages[1:] != stages[:-1]) + 1)
        words = f"{task}, {component}" if component else task
        yield Curves(method, label, words, over.mean(), over.std(), kept, bool(scored), breaks, tuple(left_out))


def _epochs(history: pd.DataFrame, task: str | None) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Task, component and, by epoch from 1, `MEASURES`, `score` and `stage`, of what learns by epochs."""
    if "loss" not in history:
        return
    frame = history.assign(task=task) if task is not None else history
    if "level" in frame:
        frame = frame[frame["level"] == "epoch"]
    frame = frame.reindex(columns=["task", "step", "loss", "score", "component", "stage", _TRAIN, _VALID])
    frame = frame.assign(component=frame["component"].fillna(-1), stage=frame["stage"].fillna(""))
    for (name, component), rows in frame.groupby(["task", "component"], sort=True):
        if rows["loss"].isna().all():
            continue
        numbers = rows[["loss", "score", _TRAIN, _VALID]].astype(np.float64).set_axis(range(1, len(rows) + 1))
        valid = numbers[_VALID].fillna(numbers["score"])
        table = numbers[["loss", "score"]].assign(train=numbers[_TRAIN], valid=valid, stage=rows["stage"].to_numpy())
        yield str(name), _component(component), table.rename_axis("epoch")


def _component(number: Any) -> str:
    """``component 1``; nothing for a method without components."""
    return f"component {int(number) + 1}" if number >= 0 else ""


def describe(drawn: Drawn, cohort: str) -> str:
    """The figure in words."""
    parts = [f"Training curves on {cohort}, one column per row of the study and task."]
    if drawn.curves:
        parts.append(
            "Top: mean loss of the training part. Bottom, where it was measured: score (higher is better) of the valid "
            "part (dashed) and of the training part (solid). Lines are means over folds and seeds, bands one standard "
            "deviation; ticks at the lower edge are the epochs that the runs kept, the dotted line their median."
        )
    for item in drawn.curves:
        kept = f"{min(item.kept)} to {max(item.kept)}" if min(item.kept) < max(item.kept) else f"{item.kept[0]}"
        how = "the best score on the valid part" if item.by_score else "the last epoch"
        stages = f", after {len(item.breaks)} earlier stages (vertical lines)" if item.breaks else ""
        parts.append(f"{item.label}, {item.task}: {len(item.kept)} runs, kept {kept} ({how}){stages}.")
        if item.left_out:
            shown = ", ".join(item.left_out[:_SHOWN])
            parts.append(f"{len(item.left_out)} runs left out: {shown}{' and more' * (len(item.left_out) > _SHOWN)}.")
    if drawn.without:
        parts.append(f"Fitted without epochs, so without curves: {'; '.join(drawn.without)}.")
    parts += [f"Not drawn: {label}, {problem}." for label, problem in drawn.unreadable.items()]
    return " ".join(parts)


def training_figure(drawn: Drawn, cohort: str, method_order: Sequence[str] = ()) -> Figure:
    """Draw the curves side by side, four across.

    Args:
        drawn: From `read_curves`.
        cohort: Words for the heading.
        method_order: All methods of the project, which fixes their colours.
    """
    curves = drawn.curves
    with style():
        if not curves:
            figure = Figure(figsize=(COLUMN, 0.6))
            look: dict[str, Any] = {"ha": "center", "va": "center", "color": MUTED}
            figure.text(0.5, 0.5, f"{cohort}: no row of this study learns by epochs.", **look)
            return figure
        kinds = 2 if any(item.scored for item in curves) else 1
        across, heights = min(len(curves), _ACROSS), _HEIGHTS[:kinds]
        lines = -(-len(curves) // across)
        width = COLUMN if across <= 2 else PAGE
        figure = Figure(figsize=(width, 0.35 + lines * (sum(heights) + 0.75)), layout="constrained")
        grid = figure.subplots(kinds * lines, across, squeeze=False)
        letters = int(_TITLE * _ACROSS / across * width / PAGE)
        looks = method_looks([item.method for item in curves], method_order)
        for place, item in enumerate(curves):
            line, column = divmod(place, across)
            panels = list(grid[kinds * line : kinds * (line + 1), column])
            _column(panels, item, looks[item.method][0], column == 0, letters)
        for column in range(len(curves) - (lines - 1) * across, across):
            for panel in grid[-kinds:, column]:
                panel.set_visible(False)
        figure.suptitle(cohort, x=0.01, ha="left", fontsize=8, fontweight="bold")
        if kinds > 1:
            entries = (("training part", "-"), ("valid part", _DASHED))
            handles = [panels[0].plot([], [], color=INK, linestyle=line, label=name)[0] for name, line in entries]
            figure.legend(handles=handles, loc="outside upper right", ncols=2, handlelength=2.2, borderaxespad=0.2)
        return figure


def _column(panels: Sequence[Axes], item: Curves, colour: str, first: bool, letters: int) -> None:
    loss = panels[0]
    loss.set_title("\n".join(textwrap.wrap(item.label, letters)), pad=12)
    loss.text(0, 1.03, item.task, transform=loss.transAxes, color=MUTED, va="bottom", fontsize=6.5)
    _line(loss, item, "loss", colour)
    for name in ("train", "valid"):
        for axes in panels[1:]:
            _line(axes, item, name, colour)
    if panels[1:] and not item.scored:
        look: dict[str, Any] = {"ha": "center", "va": "center", "color": MUTED, "style": "italic", "fontsize": 6.5}
        panels[1].text(0.5, 0.5, "no score measured", transform=panels[1].transAxes, **look)
    for axes, label in zip(panels, ("Loss", "Score"), strict=False):
        last = max(int(item.mean.index.max()), 2)
        axes.set_xlim(max(0.5, 1 - 0.03 * last), last * 1.03)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True, steps=[1, 2, 5, 10]))
        axes.yaxis.set_major_locator(MaxNLocator(4) if label == "Loss" or item.scored else NullLocator())
        axes.tick_params(labelbottom=axes is panels[-1])
        # The ticks of the kept epochs stand below the curves.
        axes.margins(y=0.12)
        axes.axvline(float(np.median(item.kept)), color=MUTED, linewidth=0.7, linestyle=(0, (1, 1.6)), zorder=0)
        axes.plot(item.kept, [0.03] * len(item.kept), "|", color=colour, markersize=5, markeredgewidth=0.9,
                  transform=axes.get_xaxis_transform(), clip_on=False)  # fmt: skip
        for place in item.breaks:
            axes.axvline(place + 0.5, color=MUTED, linewidth=0.5, zorder=0)
        if first:
            axes.set_ylabel(label)
    panels[-1].set_xlabel("Epoch")


def _line(axes: Axes, item: Curves, name: str, colour: str) -> None:
    """One mean with its band over the epochs that were measured."""
    mean = item.mean[name].dropna()
    if mean.empty:
        return
    spread = item.spread[name].reindex(mean.index)
    epochs = mean.index.to_numpy(np.float64)
    line = _DASHED if name == "valid" else "-"
    axes.plot(epochs, mean, color=colour, linestyle=line, marker="o" if len(mean) < 3 else None, markersize=2.5)
    axes.fill_between(epochs, mean - spread, mean + spread, color=colour, alpha=0.15, linewidth=0)
