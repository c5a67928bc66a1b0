"""Kaplan-Meier curves of a low- and a high-risk group, with the number at risk below."""

from __future__ import annotations

import numpy as np
import pandas as pd
from lifelines import KaplanMeierFitter
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pathomix.evaluate.risk_groups import PATIENT, POOLED, TRAINING, RiskGroups
from pathomix.report.layout import p_text
from pathomix.report.style import COLUMN, HIGH, INK, LOW, MUTED, style

_RULES = {
    TRAINING: "Cut at the training medians.",
    PATIENT: "Every patient once: risks z-scored inside each fold, averaged over the folds that test the patient, cut "
    "at the median patient.",
    POOLED: "Test rows of all folds pooled and cut at their median: a patient counts as often as tested, which makes "
    "the p-value too small.",
}


def describe(groups: RiskGroups, cohort: str, method: str) -> str:
    """The figure in words: caption of the page and text for those who cannot see it."""
    patients = groups.patients
    parts = [f"Kaplan-Meier curves of {cohort} by the risk {method} predicts."]
    for high, name in ((False, "low"), (True, "high")):
        part = patients[patients["high"] == high]
        parts.append(f"{name.capitalize()} risk: {len(part)} {_noun(groups)}, {int(part['event'].sum())} events.")
    parts += [_RULES[groups.rule], f"Log-rank: {_test(groups)}."]
    if groups.pooled is not None:
        rows = groups.pooled.patients["patient_id"]
        parts.append(
            f"Pooled over folds and cut at the median, as papers print it ({len(rows)} test rows of {rows.nunique()} "
            f"patients, whose repetition makes the p-value too small): {_test(groups.pooled)}."
        )
    if groups.left_out:
        parts.append(f"Left out: {'; '.join(groups.left_out)}.")
    return " ".join(parts)


def _noun(groups: RiskGroups) -> str:
    return "test rows" if groups.rule == POOLED else "patients"


def _test(groups: RiskGroups) -> str:
    return f"no test, {groups.problem}" if groups.p_value is None else p_text(groups.p_value)


def kaplan_meier_figure(groups: RiskGroups, cohort: str, method: str, endpoint: str = "Survival") -> Figure:
    """Draw the two curves.

    Args:
        groups: From `evaluate.risk_groups`.
        cohort: Words for the title.
        method: Words for the subtitle.
        endpoint: Words for the vertical axis.
    """
    with style():
        figure = Figure(figsize=(COLUMN, 3.0))
        axes, table = figure.subplots(
            2, 1, sharex=True, gridspec_kw={"height_ratios": (1, 0.2), "hspace": 0.5, "top": 0.87, "bottom": 0.03}
        )
        figure.subplots_adjust(left=0.17, right=0.97)
        last = float(groups.patients["time"].max()) if len(groups.patients) else 1.0
        axes.set_xlim(0, last * 1.02)
        axes.set_ylim(0, 1.02)
        axes.set_title(cohort, pad=16)
        axes.text(0, 1.035, method, transform=axes.transAxes, color=MUTED, va="bottom")
        for high in (False, True):
            _curve(axes, groups.patients[groups.patients["high"] == high], high)
        axes.set_ylabel(f"{endpoint} probability")
        axes.set_xlabel("Months")
        axes.tick_params(labelbottom=True)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        note = f"log-rank {p_text(groups.p_value)}" if groups.p_value is not None else f"no log-rank: {groups.problem}"
        axes.text(1.0, 1.035, note, transform=axes.transAxes, ha="right", va="bottom")
        _legend(axes, groups)
        _at_risk(table, groups.patients, [tick for tick in axes.get_xticks() if 0 <= tick <= last])
        return figure


def _curve(axes: Axes, patients: pd.DataFrame, high: bool) -> None:
    if patients.empty:
        return
    colour = HIGH if high else LOW
    fitter = KaplanMeierFitter().fit(patients["time"], patients["event"])
    curve = fitter.survival_function_.iloc[:, 0]
    band = fitter.confidence_interval_
    axes.fill_between(band.index, band.iloc[:, 0], band.iloc[:, 1], step="post", color=colour, alpha=0.13, linewidth=0)
    axes.step(curve.index, curve, where="post", color=colour, linestyle="-" if high else (0, (4, 1.2)))
    censored = np.sort(patients.loc[patients["event"] == 0, "time"].to_numpy())
    height = fitter.survival_function_at_times(censored).to_numpy() if len(censored) else []
    axes.plot(censored, height, linestyle="none", marker="|", markersize=3.2, markeredgewidth=0.6, color=colour)


def _legend(axes: Axes, groups: RiskGroups) -> None:
    for high, name in ((True, "high"), (False, "low")):
        part = groups.patients[groups.patients["high"] == high]
        label = f"{name} risk ({len(part)} {_noun(groups)}, {int(part['event'].sum())} events)"
        axes.plot([], [], color=HIGH if high else LOW, linestyle="-" if high else (0, (4, 1.2)), label=label)
    axes.legend(loc="upper right", borderaxespad=0.2, handlelength=2.2)


def _at_risk(axes: Axes, patients: pd.DataFrame, ticks: list[float]) -> None:
    axes.set_ylim(-0.7, 1.6)
    axes.spines[:].set_visible(False)
    axes.tick_params(left=False, bottom=False, labelleft=False, labelbottom=False)
    axes.text(0, 1.5, "Number at risk", transform=axes.get_yaxis_transform(), color=MUTED, va="bottom", fontsize=6.5)
    for place, (high, name) in enumerate(((False, "low"), (True, "high"))):
        colour = HIGH if high else LOW
        time = patients.loc[patients["high"] == high, "time"].to_numpy()
        axes.text(-0.06, place, name, transform=axes.get_yaxis_transform(), ha="right", va="center", color=colour)
        for tick in ticks:
            axes.text(tick, place, f"{int((time >= tick).sum())}", ha="center", va="center", color=INK, fontsize=6.5)
