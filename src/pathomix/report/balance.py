"""Which modality a network with two of them leans on while it trains (spec path_gptomic 4.5): figure and table.

Read are the histories of runs that measure the scores of each modality alone, modulated or not. Rows whose histories
have no such columns are no matter of this figure.
"""

from __future__ import annotations

import logging
import os
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from pathomix.core.files import write_text
from pathomix.evaluate.oracles import is_oracle
from pathomix.report.histories import read_history, read_run_indices
from pathomix.report.layout import Layout
from pathomix.report.style import COLUMN, HIGH, INK, LOW, MUTED, PAGE, RULE, save, style

LOG = logging.getLogger(__name__)

SCORES = ("genomic", "image", "log_hazard")
MODALITIES = SCORES[:2]
PARTS = ("train", "valid")
CONCORDANCES = tuple(f"c_{score}_{part}" for part in PARTS for score in SCORES)
STEPS = tuple(f"{measure}_{modality}" for measure in ("k", "slowed") for modality in MODALITIES)
_NEEDED = ("task", "level", "epoch", "skipped", *CONCORDANCES)
_COEFFICIENTS = tuple(f"k_{modality}" for modality in MODALITIES)
_SHOWN = 3
_UNSPLIT = "no separate scores of both modalities (one modality, or a fusion that is no sum)"
_OTHER = "its history has no scores of single modalities"

COLUMNS = (
    *("study", "cohort", "scheme", "method", "label", "folds", "seeds", "runs", "runs_left_out"),
    *("epochs_fewest", "epochs_most", "steps", "skipped_steps"),
    *(f"{name}{end}" for name in (*CONCORDANCES, *STEPS) for end in ("", "_sd_folds")),
    "reason",
)


@dataclass(frozen=True)
class Balance:
    """One row of a study on one cohort.

    Attributes:
        method: Name of the row.
        means: Index `epoch`, counted from 0; columns `CONCORDANCES` and `STEPS`: means over folds, of means over seeds.
        spreads: The same shape: standard deviations over folds; NaN with one.
        facts: A row of the table, columns `COLUMNS`.
    """

    method: str
    means: pd.DataFrame
    spreads: pd.DataFrame
    facts: Mapping[str, Any]

    @property
    def label(self) -> str:
        """How the row is written."""
        return str(self.facts["label"])

    @property
    def drawn(self) -> bool:
        """Whether both modalities have a score that could be measured somewhere."""
        return all(bool(self.means[[f"c_{m}_{part}" for part in PARTS]].notna().any(axis=None)) for m in MODALITIES)

    @property
    def part(self) -> str:
        """Part the figure shows: the held-out one where there is one."""
        return "valid" if bool(self.means["c_log_hazard_valid"].notna().any()) else "train"

    @property
    def modulated(self) -> bool:
        """Whether steps have coefficients."""
        return bool(self.means["k_genomic"].notna().any())


def plot_balance(
    indices: Sequence[str | os.PathLike[str]],
    results: str | os.PathLike[str],
    cohort: str,
    method_labels: Mapping[str, Any],
    figure_dir: str | os.PathLike[str],
    table_dir: str | os.PathLike[str],
) -> None:
    """Write `balance_<cohort>` as PDF and PNG, and as CSV.

    Args:
        indices: RUN_INDEX tables; rows of other cohorts and oracles are passed over.
        results: Folder the paths in the indices start from.
        cohort: The cohort.
        method_labels: See `Layout.of`.
        figure_dir: Where the figure goes.
        table_dir: Where the table goes.

    Raises:
        PathomixError: An index is not one, or the indices repeat a run or belong to different studies.
    """
    layout = Layout.of([cohort], method_labels)
    rows = read_balances(indices, results, cohort, layout)
    table = pd.DataFrame([row.facts for row in rows], columns=list(COLUMNS))
    name = f"balance_{cohort}"
    write_text(Path(table_dir) / f"{name}.csv", table.to_csv(index=False, lineterminator="\n"))
    save(balance_figure(rows, cohort), Path(figure_dir) / name, f"Modality balance: {cohort}", describe(rows, cohort))


def read_balances(
    indices: Sequence[str | os.PathLike[str]], results: str | os.PathLike[str], cohort: str, layout: Layout
) -> list[Balance]:
    """Rows of a cohort that measure each modality alone, in the order of the layout.

    A run whose history cannot be trusted is left out and named; it takes no other run with it. A row none of whose
    runs left a history is part of the result, with the reason.

    Raises:
        PathomixError: See `plot_balance`.
    """
    index = read_run_indices(indices)
    index = index[(index["cohort"] == cohort) & ~index["method"].map(is_oracle)]
    found = []
    for method in layout.ordered_methods(index["method"]):
        mine = index[index["method"] == method]
        read = [_read_history(Path(results), row) for row in mine.to_dict("records")]
        if any(item is None for item in read) and not any(isinstance(item, pd.DataFrame) for item in read):
            LOG.info("%s: %s", method, _OTHER)
            continue
        histories = [_OTHER if item is None else item for item in read]
        found.append(_balance(mine, histories, layout.label(method).label))
        if found[-1].facts["reason"]:
            LOG.info("%s on %s: %s", method, cohort, found[-1].facts["reason"])
    return found


def _read_history(root: Path, row: Mapping[Any, Any]) -> pd.DataFrame | str | None:
    """Survival rows of a run's history, why there are none, or None where it measures other things."""
    history = read_history(root, row)
    if isinstance(history, str):
        return history
    if not set(_NEEDED) <= set(history.columns):
        return None
    history = history[history["task"] == "survival"]
    if not (history["level"] == "epoch").any():
        return "its history has no epoch"
    return history.reindex(columns=[*_NEEDED, *_COEFFICIENTS])


def _balance(index: pd.DataFrame, read: Sequence[pd.DataFrame | str], label: str) -> Balance:
    """Means over seeds and folds of the runs of one row."""
    runs, problems = {}, {}
    for (fold, seed), item in zip(index[["fold", "seed"]].itertuples(index=False, name=None), read, strict=True):
        if isinstance(item, str):
            problems[f"fold {fold} seed {seed}"] = item
        else:
            runs[fold, seed] = item
    first = index.iloc[0]
    facts: dict[str, Any] = {name: first[name] for name in ("study", "cohort", "scheme", "method")}
    facts |= {"label": label, "runs": len(runs), "runs_left_out": len(problems)}
    facts |= {"folds": len({fold for fold, _ in runs}), "seeds": len({seed for _, seed in runs})}
    columns = [*CONCORDANCES, *STEPS]
    if not runs:
        empty = pd.DataFrame(columns=columns, index=pd.Index([], name="epoch"), dtype=np.float64)
        return Balance(str(first["method"]), empty, empty, {**facts, "reason": _left_out(problems, len(index))})
    curves = pd.concat({key: _curves(history) for key, history in runs.items()}, names=["fold", "seed", "epoch"])
    folds = curves.groupby(["fold", "epoch"])[columns].mean()
    over = folds.groupby("epoch")
    summary = pd.DataFrame({key: _summary(history) for key, history in runs.items()}).T
    summary.index = pd.MultiIndex.from_tuples(summary.index, names=["fold", "seed"])
    by_fold = summary.groupby("fold")[columns].mean()
    for name in columns:
        facts |= {name: by_fold[name].mean(), f"{name}_sd_folds": by_fold[name].std()}
    facts |= {"epochs_fewest": int(summary["epochs"].min()), "epochs_most": int(summary["epochs"].max())}
    facts |= {name: int(summary[name].sum()) for name in ("steps", "skipped_steps")}
    reasons = [*_missing(summary), _left_out(problems, len(index))]
    facts["reason"] = "; ".join(reason for reason in reasons if reason)
    return Balance(str(first["method"]), over.mean(), over.std(), facts)


def _curves(history: pd.DataFrame) -> pd.DataFrame:
    """One run: `CONCORDANCES` and `STEPS` by epoch; NaN where an epoch was not measured or has no coefficients."""
    epochs = history[history["level"] == "epoch"].set_index("epoch")[list(CONCORDANCES)].astype(np.float64)
    steps = history[history["level"] == "step"]
    return epochs.join(_steps(steps).groupby(steps["epoch"]).mean())


def _summary(history: pd.DataFrame) -> dict[str, Any]:
    """One run: concordances after its last epoch, means over its steps, and how much it did."""
    epochs = history[history["level"] == "epoch"].sort_values("epoch")
    steps = history[history["level"] == "step"]
    counts = {"epochs": len(epochs), "steps": len(steps), "skipped_steps": epochs["skipped"].sum()}
    last = pd.concat([epochs.iloc[-1][list(CONCORDANCES)].astype(np.float64), _steps(steps).mean()])
    return {**{str(name): value for name, value in last.items()}, **counts}


def _steps(steps: pd.DataFrame) -> pd.DataFrame:
    """`STEPS` of each step: its coefficients, and whether they slow it (1 or 0); NaN without coefficients."""
    values = steps[list(_COEFFICIENTS)].astype(np.float64)
    slowed = (values < 1).astype(np.float64).where(values.notna())
    return values.join(slowed.rename(columns=dict(zip(_COEFFICIENTS, STEPS[2:], strict=True))))


def _missing(summary: pd.DataFrame) -> list[str]:
    """Why numbers of the table are missing, or rest on some of the runs only."""
    unimodal = [f"c_{modality}_train" for modality in MODALITIES]
    alone = summary[unimodal].isna().any(axis=1)
    held = summary["c_log_hazard_valid"].isna()
    still = summary["k_genomic"].isna()
    causes = {
        _UNSPLIT: alone,
        "no c on a valid part (none was held out, or its patients cannot be compared)": held,
        "no coefficients (steps are not modulated)": still,
    }
    return [
        cause if runs.all() else f"{cause}: {int(runs.sum())} of {len(runs)} runs"
        for cause, runs in causes.items()
        if runs.any()
    ]


def _left_out(problems: Mapping[str, str], total: int) -> str:
    """``2 of 15 runs left out: fold 0 seed 1 (...)``."""
    if not problems:
        return ""
    shown = [f"{run} ({problem})" for run, problem in list(problems.items())[:_SHOWN]]
    more = f" and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
    return f"{len(problems)} of {total} runs left out: {', '.join(shown)}{more}"


# figure

_LOOKS: Mapping[str, dict[str, Any]] = {
    "genomic": {"color": LOW, "linestyle": "-", "label": "genomic, $u^G$"},
    "image": {"color": HIGH, "linestyle": (0, (4, 1.2)), "label": "image, $u^P$"},
    "log_hazard": {"color": INK, "linestyle": "-", "linewidth": 0.8, "label": "both, $\\theta$"},
}
_PARTS = {"valid": "held-out valid part", "train": "training part"}
_ACROSS = 4
_HEIGHTS = (1.35, 0.8, 0.8)  # inches
_TITLE = 22  # characters of a title's line, at four panels across


def describe(rows: Sequence[Balance], cohort: str) -> str:
    """The figure in words."""
    drawn = [row for row in rows if row.drawn]
    parts = [f"Modality balance on {cohort} while networks train, one column per row of the study."]
    if not drawn:
        parts.append("No row has a history with scores of both modalities.")
    else:
        parts.append(
            "Top: Harrell's c of the genomic score u^G, of the image score u^P and of their sum theta. Middle: mean "
            "coefficient of the steps of each modality, 1 being a step of full size. Bottom: share of the steps that "
            "slow the modality (coefficient below 1). Lines are means over folds, seeds averaged within each fold; "
            "bands one standard deviation over the folds."
        )
        if any(row.part == "train" for row in drawn):
            parts.append(
                "On the training part c is in-sample: it says which modality has been fitted, not which generalises."
            )
        parts += [_sentence(row) for row in drawn]
        if any(row.facts["epochs_fewest"] < row.facts["epochs_most"] for row in drawn):
            parts.append("Where runs stopped early, later epochs are means over the runs that went on.")
        if len({row.part for row in drawn}) > 1:
            parts.append("Rows on different parts are not to be compared.")
    for row in rows:
        if not row.drawn:
            parts.append(f"Not drawn: {row.label}, {_UNSPLIT if row.facts['runs'] else row.facts['reason']}.")
        elif row.facts["runs_left_out"]:
            parts.append(f"{row.label}: {row.facts['runs_left_out']} of its runs left out.")
    return " ".join(parts)


def _sentence(row: Balance) -> str:
    values = [row.facts[f"c_{score}_{row.part}"] for score in SCORES]
    names = ("u^G", "u^P", "theta")
    ends = ", ".join(f"{n} {v:.3f}" if pd.notna(v) else f"{n} missing" for n, v in zip(names, values, strict=True))
    folds, seeds = row.facts["folds"], row.facts["seeds"]
    runs = f"{folds} fold{'s' * (folds > 1)}, {seeds} seed{'s' * (seeds > 1)}"
    slowed = "" if row.modulated else "; not modulated"
    return f"{row.label} ({runs}; {_PARTS[row.part]}): last epoch {ends}{slowed}."


def balance_figure(rows: Sequence[Balance], cohort: str) -> Figure:
    """Draw the rows side by side, four across.

    Args:
        rows: From `read_balances`; those without scores of both modalities are not drawn.
        cohort: Words for the heading.
    """
    drawn = [row for row in rows if row.drawn]
    with style():
        if not drawn:
            figure = Figure(figsize=(COLUMN, 0.9))
            look: dict[str, Any] = {"ha": "center", "va": "center", "color": MUTED}
            figure.text(0.5, 0.5, f"{cohort}: no history with scores\nof both modalities", **look)
            return figure
        across = min(len(drawn), _ACROSS)
        lines = -(-len(drawn) // across)
        width = COLUMN if across == 1 else PAGE
        figure = Figure(figsize=(width, 0.35 + lines * (sum(_HEIGHTS) + 0.85)), layout="constrained")
        grid = figure.subplots(
            3 * lines, across, squeeze=False, sharex=True, gridspec_kw={"height_ratios": _HEIGHTS * lines}
        )
        limits = _limits(drawn)
        letters = _TITLE * _ACROSS // across if across > 1 else 2 * _TITLE
        for place, row in enumerate(drawn):
            line, column = divmod(place, across)
            panels = list(grid[3 * line : 3 * line + 3, column])
            _column(panels, row, limits, first=column == 0, letters=letters)
        for column in range(len(drawn) - (lines - 1) * across, across):
            for panel in grid[-3:, column]:
                panel.set_visible(False)
        figure.suptitle(cohort, x=0.01, ha="left", fontsize=8, fontweight="bold")
        handles = [grid[0, 0].plot([], [], **look)[0] for look in _LOOKS.values()]
        figure.legend(handles=handles, loc="outside upper right", ncols=3, handlelength=2.2, borderaxespad=0.2)
        return figure


def _limits(rows: Sequence[Balance]) -> tuple[float, float]:
    """Range of c over all panels, chance included."""
    edges = []
    for row in rows:
        names = [f"c_{score}_{row.part}" for score in SCORES]
        mean, spread = row.means[names].to_numpy(np.float64), row.spreads[names].fillna(0.0).to_numpy(np.float64)
        edges += [float(np.nanmin(mean - spread)), float(np.nanmax(mean + spread))]
    return max(0.0, min(0.48, *edges) - 0.01), min(1.0, max(0.55, *edges) + 0.01)


def _column(panels: Sequence[Axes], row: Balance, limits: tuple[float, float], first: bool, letters: int) -> None:
    concordance, coefficient, share = panels
    concordance.set_title("\n".join(textwrap.wrap(row.label, letters)), pad=14)
    concordance.text(0, 1.03, _PARTS[row.part], transform=concordance.transAxes, color=MUTED, va="bottom", fontsize=6.5)
    concordance.set_ylim(*limits)
    concordance.axhline(0.5, color=MUTED, linewidth=0.7, linestyle=(0, (1, 1.6)), zorder=0)
    for score in SCORES:
        _line(concordance, row, f"c_{score}_{row.part}", score)
    for axes, measure in ((coefficient, "k"), (share, "slowed")):
        axes.set_ylim(-0.03, 1.06)
        axes.set_yticks([0, 0.5, 1])
        axes.axhline(1, color=RULE, linewidth=0.4, zorder=0)
        for modality in MODALITIES:
            _line(axes, row, f"{measure}_{modality}", modality)
        if not row.modulated:
            look: dict[str, Any] = {"ha": "center", "va": "center", "color": MUTED, "style": "italic"}
            axes.text(0.5, 0.45, "not modulated", transform=axes.transAxes, fontsize=6.5, **look)
    share.yaxis.set_major_formatter(PercentFormatter(1.0))
    share.set_xlabel("Epoch")
    share.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
    for axes, label in zip(panels, ("c-index", "Coefficient $k$", "Steps slowed"), strict=True):
        axes.tick_params(labelleft=first, labelbottom=axes is share)
        if first:
            axes.set_ylabel(label)


def _line(axes: Axes, row: Balance, name: str, score: str) -> None:
    """One mean with its band over the epochs that were measured, counted from 1."""
    look = {key: value for key, value in _LOOKS[score].items() if key != "label"}
    mean = row.means[name].dropna()
    spread = row.spreads[name].reindex(mean.index)
    epochs = mean.index.to_numpy(np.float64) + 1
    axes.plot(epochs, mean, marker="o" if len(mean) < 3 else None, markersize=2.5, **look)
    low, high = ((mean + sign * spread).clip(0, 1) for sign in (-1, 1))
    axes.fill_between(epochs, low, high, color=look["color"], alpha=0.13, linewidth=0)
