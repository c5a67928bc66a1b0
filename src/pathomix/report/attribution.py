"""Which pathways move a model's output, how far seeds agree on it, and whether untrained models say the same."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pathomix.core.errors import PathomixError
from pathomix.report.layout import p_text
from pathomix.report.style import COLUMN, HIGH, INK, LOW, MUTED, PAGE, save, style

SHOWN = 10
FAILED = "fails its\nrandomisation control"
UNCONTROLLED = "not controlled"
_ROW = 0.19  # inches
_TOP, _BOTTOM, _NAMES, _HEADING, _LEGEND = 0.5, 0.42, 1.5, 0.22, 0.2  # inches
_LETTERS = 24
_UNIT = "Share of the attributions (%)"


def plot_attribution(explanation: Path, name: str, stem: Path) -> None:
    """Write `<stem>.pdf` and `<stem>.png`.

    Args:
        explanation: Folder that explain_representation wrote.
        name: Words for the heading.
        stem: Path without suffix.

    Raises:
        PathomixError: The folder lacks the tables of the control.
    """
    models, controls = (_read(explanation / f"{table}.parquet") for table in ("pathway_models", "controls"))
    figure = attribution_figure(models, controls, name)
    save(figure, stem, f"Pathway attribution: {name}", describe(models, controls, name))


def _read(path: Path) -> pd.DataFrame:
    """Not by the schemas of `representations`, whose modules need PyTorch: drawing does not."""
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise PathomixError(
            f"{path}: not a table of explain_representation ({error})", remedy="run explain_representation again"
        ) from error


def shares(models: pd.DataFrame, scalar: str) -> pd.DataFrame:
    """Share of each pathway in the importances of one model, columns (kind, seed); largest mean of the seeds first."""
    mine = models[models["scalar"] == scalar]
    table = mine.pivot_table(index="pathway", columns=["kind", "seed"], values="importance", sort=True)
    table = table / table.sum().where(table.sum() > 0)
    order = _of(table, "trained").mean(axis=1).sort_values(ascending=False, kind="stable").index
    result: pd.DataFrame = table.loc[order]
    return result


def _of(table: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Columns of the models of one kind, by seed."""
    return pd.DataFrame(table.xs(kind, axis=1, level="kind"))


def describe(models: pd.DataFrame, controls: pd.DataFrame, name: str) -> str:
    """The figure in words."""
    if controls.empty:
        return f"{name}: no patient could be explained by genes, so there is no attribution to draw."
    patients = int(controls["n_patients"].max())
    parts = [
        f"Integrated gradients of the output of the model by pathway ({name}, {patients} patients): mean absolute "
        f"attribution as a share of all pathways, the {SHOWN} largest by the mean of the seeds. Bars are means over "
        "seeds, dots single seeds, grey lines the range over untrained models of the same architecture."
    ]
    for row in controls.to_dict("records"):
        first = ", ".join(_words(pathway) for pathway in shares(models, row["scalar"]).index[:3])
        parts.append(f"{_scalar(row['scalar'])}: largest are {first}. {_sentence(row)}")
    return " ".join(parts)


def _sentence(row: dict[Any, Any]) -> str:
    agreement = [
        f"{words} rank correlation {row[f'{kind}_correlation']:.2f}, {_common(row, kind)} in common"
        for kind, words in (("seed", "two seeds:"), ("randomised", "a seed and an untrained model:"))
        if pd.notna(row[f"{kind}_correlation"])
    ]
    said = "; ".join(agreement)
    said = said[:1].upper() + said[1:] + ("." if said else "")
    if row["verdict"] == "passes":
        return f"{said} Seeds agree more with each other than with untrained models ({p_text(row['p'])})."
    if row["verdict"] == "fails":
        return (
            f"{said} Seeds do not agree more with each other than with untrained models ({p_text(row['p'])}): the "
            "explanation fails its randomisation control and says nothing of what was learnt."
        )
    return f"{said} Not controlled: {row['reason']}.".strip()


def _common(row: dict[Any, Any], kind: str) -> str:
    return f"{row[f'{kind}_overlap'] * row['top']:.1f} of the {row['top']} largest"


def _scalar(scalar: str) -> str:
    """``logit_Solid carcinoma`` as ``Logit: Solid carcinoma``."""
    kind, _, rest = scalar.partition("_")
    return f"{kind.capitalize()}: {rest}" if rest else kind.capitalize()


def _words(pathway: str) -> str:
    return pathway.replace("_", " ")


def attribution_figure(models: pd.DataFrame, controls: pd.DataFrame, name: str) -> Figure:
    """Draw a panel per scalar, two across.

    Args:
        models: PATHWAY_MODELS rows.
        controls: CONTROLS rows, which order the panels.
        name: Words for the heading.
    """
    scalars = sorted(controls["scalar"], key=lambda scalar: (scalar != "risk", scalar))
    with style():
        if not scalars:
            figure = Figure(figsize=(COLUMN, 0.6))
            figure.text(0.5, 0.5, f"{name}: no patient explained by genes.", ha="center", va="center", color=MUTED)
            return figure
        across = min(2, len(scalars))
        lines = -(-len(scalars) // across)
        panel = SHOWN * _ROW
        width = COLUMN if across == 1 else PAGE
        height = _HEADING + lines * (_TOP + panel + _BOTTOM) + _LEGEND
        figure = Figure(figsize=(width, height))
        figure.text(0.06 / width, 1 - 0.06 / height, name, va="top", fontsize=8, fontweight="bold")
        for place, scalar in enumerate(scalars):
            line, column = divmod(place, across)
            left = column / across + _NAMES / width
            bottom = 1 - (_HEADING + (line + 1) * (_TOP + panel) + line * _BOTTOM) / height
            axes = figure.add_axes((left, bottom, 1 / across - (_NAMES + 0.12) / width, panel / height))
            row = controls.set_index("scalar").loc[scalar]
            _panel(axes, shares(models, scalar).head(SHOWN), row, scalar)
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="lower center", ncols=3, borderaxespad=0.3, handlelength=1.4)
        return figure


def _panel(axes: Axes, table: pd.DataFrame, control: pd.Series, scalar: str) -> None:
    places, table = np.arange(len(table)), 100 * table
    trained = _of(table, "trained")
    axes.barh(places, trained.mean(axis=1), height=0.62, color=LOW, alpha=0.35, linewidth=0, label="mean of seeds")
    for number, seed in enumerate(trained.columns):
        # Dots of equal seeds lie on each other: each seed has its own height.
        shift = 0.16 * (number - (trained.shape[1] - 1) / 2)
        label = "one seed" if number == 0 else None
        axes.plot(trained[seed], places + shift, "o", color=LOW, markersize=2.6, markeredgewidth=0, label=label)
    if "randomised" in table.columns.get_level_values(0):
        random = _of(table, "randomised")
        axes.hlines(
            places + 0.4, random.min(axis=1), random.max(axis=1), color=MUTED, linewidth=1.0, label="untrained models"
        )
    names = ["\n".join(textwrap.wrap(_words(pathway), _LETTERS)) for pathway in table.index]
    axes.set_yticks(places, names, fontsize=6, linespacing=0.95)
    axes.set_ylim(len(table) - 0.4, -0.6)
    axes.set_xlim(0, None)
    axes.tick_params(left=False)
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axes.set_xlabel(_UNIT)
    axes.set_title("\n".join(textwrap.wrap(_scalar(scalar), 34)), pad=22)
    look: dict[str, Any] = {"transform": axes.transAxes, "va": "bottom", "fontsize": 6, "color": MUTED}
    axes.text(0, 1.02, _note(control), **look)
    _watermark(axes, str(control["verdict"]))


def _note(control: pd.Series) -> str:
    """What stands between title and bars."""
    lines = [
        f"{words}: \N{GREEK SMALL LETTER RHO} = {control[f'{kind}_correlation']:.2f}, "
        f"{control[f'{kind}_overlap'] * control['top']:.1f} of {control['top']} in common"
        for kind, words in (("seed", "seeds"), ("randomised", "untrained"))
        if pd.notna(control[f"{kind}_correlation"])
    ]
    return "\n".join(lines)


def _watermark(axes: Axes, verdict: str) -> None:
    if verdict == "passes":
        return
    failed = verdict == "fails"
    look: dict[str, Any] = {"ha": "center", "va": "center", "rotation": 20, "fontweight": "bold", "zorder": 5}
    axes.text(
        0.55, 0.4, FAILED if failed else UNCONTROLLED, transform=axes.transAxes,
        fontsize=9.5, color=HIGH if failed else INK, alpha=0.6, **look,
    )  # fmt: skip
