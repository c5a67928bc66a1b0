"""The Kaplan-Meier step of the workflow: whose risks, which patients, one figure per cohort."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pathomix.core.errors import PathomixError
from pathomix.core.tables import read_table
from pathomix.evaluate.metrics import metrics_of
from pathomix.evaluate.oracles import is_oracle
from pathomix.evaluate.predictions import Runs, read_runs
from pathomix.evaluate.risk_groups import RiskGroups, risk_groups
from pathomix.evaluate.schemas import SCORES
from pathomix.report import kaplan_meier
from pathomix.report.layout import Layout
from pathomix.report.style import save
from pathomix.report.tables import tidy

LOG = logging.getLogger(__name__)
_EMPTY = RiskGroups(
    pd.DataFrame({"patient_id": [], "time": [], "event": [], "score": [], "high": pd.Series(dtype=bool)}),
    None,
    "no method has a survival score on this cohort",
    (),
)


def plot_kaplan_meier(
    indices: Sequence[str | os.PathLike[str]],
    scores_path: str | os.PathLike[str],
    results: str | os.PathLike[str],
    cohort: str,
    method: str | None,
    method_labels: Mapping[str, Any],
    output_dir: str | os.PathLike[str],
    threads: int = 1,
) -> None:
    """Write `kaplan_meier_<cohort>` as PDF and PNG.

    Args:
        indices: RUN_INDEX tables of the cohort's rows.
        scores_path: SCORES table of the study.
        results: Folder the paths in the indices start from.
        cohort: The cohort.
        method: Method whose risk groups are drawn; None takes the best row (and says so).
        method_labels: See `Layout.of`.
        output_dir: Where the figure goes.
        threads: Prediction files read at the same time.

    Raises:
        PathomixError: The chosen method is not part of the study, or an input is not what it should be.
    """
    layout = Layout.of([cohort], method_labels)
    rows = tidy(read_table(scores_path, SCORES), layout)
    known = sorted(rows["method"].unique())
    if method is not None and method not in known:
        raise PathomixError(
            f"the Kaplan-Meier method is {method!r}, which this study does not run",
            remedy=f"use one of {', '.join(known)}",
        )
    _kaplan_meier(read_runs(indices, results, threads), rows, cohort, method, layout, Path(output_dir))


def _kaplan_meier(
    runs: Runs, rows: pd.DataFrame, cohort: str, chosen: str | None, layout: Layout, folder: Path
) -> None:
    metric = metrics_of("survival")[0].name
    candidates = rows[(rows["metric"] == metric) & (rows["cohort"] == cohort)]
    if chosen is None:
        ranked = candidates[candidates["mean"].notna() & ~candidates["method"].map(is_oracle)]
        candidates = ranked.sort_values("mean", ascending=False, kind="stable")
    else:
        candidates = candidates[candidates["method"] == chosen]
    if candidates.empty:
        groups, label = _EMPTY, "no method"
    else:
        best = candidates.iloc[0]
        groups = risk_groups(runs, str(best["method"]), cohort, str(best["scheme"]))
        label = layout.label(str(best["method"])).label
    text = kaplan_meier.describe(groups, cohort, label)
    if chosen is None:
        text += " The method is the best row of this cohort's table, so the separation is on the optimistic side."
    for reason in groups.left_out:
        LOG.warning("Kaplan-Meier of %s, %s: left out %s", cohort, label, reason)
    figure = kaplan_meier.kaplan_meier_figure(groups, cohort, label)
    save(figure, folder / f"kaplan_meier_{cohort}", f"Kaplan-Meier: {cohort}", text)
