"""What stands under a table: which number is which, on what unit, from which paper."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pathomix.evaluate.common import COMMON
from pathomix.evaluate.units import PATIENT
from pathomix.report.layout import is_oracle
from pathomix.report.published import PUBLISHED, RUN

SIGNIFICANT = 0.05


def _span(values: pd.Series, one: str) -> str:
    """``5 folds``, ``1 seed``, ``5 to 15 folds``."""
    low, high = int(values.min()), int(values.max())
    return f"{low} {one}" + ("" if low == 1 else "s") if low == high else f"{low} to {high} {one}s"


def results_caption(rows: pd.DataFrame) -> str:
    """Of a results table; the rows are those of one metric."""
    carried = rows[rows["source"] == PUBLISHED]
    rows = rows[rows["source"] == RUN]
    ranked = rows["rank"].notna().groupby([rows["cohort"], rows["scheme"]]).sum().max()
    parts = [_spread(rows), f"{_unit(rows)}; higher is better."]
    if ranked > 1:
        parts.append("Bold: best of the column" + ("; underlined: second best." if ranked > 2 else "."))
    if len(carried):
        parts.append(f"Rows marked published were not run: value and ± as printed in {_sources(carried)}; not ranked.")
    if rows["method"].map(is_oracle).any():
        parts.append("Oracle rows know the simulated truth; they bound what a method can reach and are not ranked.")
    unprinted = carried["published_mean"].isna().any()
    if unprinted or rows["mean"].isna().any() or np.asarray(rows["reason"].notna()).any():
        parts.append("Letters refer to the notes.")
    return " ".join(parts)


def _spread(rows: pd.DataFrame) -> str:
    """What stands beside the mean, by name."""
    seeds = "" if rows["seeds"].max() == 1 else f" ({_span(rows['seeds'], 'seed')} averaged within each fold)"
    folds = _span(rows["folds_total"], "fold")
    if rows["folds_total"].max() > 1:
        head = f"Mean ± standard deviation over {folds}{seeds}, in parentheses the half-width of the 95 % t-interval"
        head += " over the folds, and"
    else:
        head = f"Value on {folds}{seeds}, and"
    resamples = int(rows["resamples"].max())
    return f"{head} in brackets the 95 % percentile interval of {resamples:,} bootstrap resamples of the patients."


def _unit(rows: pd.DataFrame) -> str:
    same = ", of the patients that every row predicts" if (rows["patients"] == COMMON).all() else ""
    if (rows["unit"] == PATIENT).all():
        return f"One prediction per patient and fold{same}"
    return f"Scored per region, of which a patient has several, and not per patient{same}; whole patients are resampled"


def _sources(rows: pd.DataFrame) -> str:
    return "; ".join(dict.fromkeys(rows["published_source"].dropna()))


def difference_caption(rows: pd.DataFrame) -> str:
    """Of a table of differences to the reference row."""
    interval = "the 95 % percentile interval of the paired bootstrap (both rows meet the same resampled patients)"
    head = f"Mean of the row less mean of the reference row; in brackets {interval}"
    if rows["wilcoxon_p"].isna().all():
        return f"{head}. Bold: the interval excludes 0."
    t_test = "two-sided p of the corrected resampled t-test over folds"
    rank = "of the paired Wilcoxon signed-rank test, which takes overlapping folds for independent and is too lenient"
    return (
        f"{head}, then the {t_test}, and {rank}. Bold: corrected p < {SIGNIFICANT:g}, or, where that is missing, the "
        "interval excludes 0. No p-value is adjusted for the number of rows."
    )


def published_caption(rows: pd.DataFrame) -> str:
    """Of a table that sets rows beside what was published."""
    return (
        f"{_spread(rows)} {_unit(rows)}. Published: value and ± as printed in {_sources(rows)}. Other patients, folds "
        "or units may stand behind a published value; it enters no score here. Letters refer to the notes."
    )
