"""What stands under a table: which number is which, on what unit, from which paper."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pathomix.evaluate.common import COMMON
from pathomix.evaluate.metrics import METRICS
from pathomix.evaluate.oracles import is_oracle
from pathomix.evaluate.units import PATIENT
from pathomix.report.published import PUBLISHED, RUN

SIGNIFICANT = 0.05


def _span(values: pd.Series, one: str) -> str:
    """``5 folds``, ``1 seed``, ``5 to 15 folds``."""
    low, high = int(values.min()), int(values.max())
    return f"{low} {one}" + ("" if low == 1 else "s") if low == high else f"{low} to {high} {one}s"


def lower_is_better(metric: str) -> bool:
    """Whether the smallest value of a column is the best one."""
    return bool(getattr(METRICS[metric], "lower_is_better", False))


def resolution_sentence(rows: pd.DataFrame) -> str:
    """Which differences each cohort of the rows cannot tell from noise; empty where that was never asked."""
    asked = rows[rows["resolvable"].notna() | rows["resolvable_reason"].notna()]
    found = asked.groupby(["cohort", "scheme"], sort=False)[["resolvable", "resolvable_reason"]].first()
    names = found.index.get_level_values("cohort")
    shown, missing = [], []
    assumed: list[str] = []
    for (cohort, scheme), value, why in zip(found.index, found["resolvable"], found["resolvable_reason"], strict=True):
        name = f"{cohort}, {scheme}" if sum(names == cohort) > 1 else str(cohort)
        if pd.isna(value):
            missing.append(f"Not known for {name}: {why}.")
        else:
            shown.append((f"{value:.3f}", name))
            assumed += [str(why)] if isinstance(why, str) else []
    sentences = []
    if len(shown) == 1 and len(found) == 1:
        sentences = [f"Differences below {shown[0][0]} cannot be told from noise in this cohort."]
    elif shown:
        listed = ", ".join(f"{value} ({name})" for value, name in shown)
        sentences = [f"Differences below these cannot be told from noise in the cohort: {listed}."]
    said = [f"Assumed: {'; '.join(dict.fromkeys(assumed))}."] if assumed else []
    return " ".join([*sentences, *missing, *said])


def results_caption(rows: pd.DataFrame) -> str:
    """Of a results table; the rows are those of one metric."""
    carried = rows[rows["source"] == PUBLISHED]
    rows = rows[rows["source"] == RUN]
    ranked = rows["rank"].notna().groupby([rows["cohort"], rows["scheme"]]).sum().max()
    better = "lower" if lower_is_better(str(rows["metric"].iloc[0])) else "higher"
    parts = [_spread(rows), f"{_unit(rows)}; {better} is better."]
    if ranked > 1:
        parts.append("Bold: best of the column" + ("; underlined: second best." if ranked > 2 else "."))
    if len(carried):
        parts.append(f"Rows marked published were not run: value and ± as printed in {_sources(carried)}; not ranked.")
    if rows["method"].map(is_oracle).any():
        parts.append("Oracle rows know the simulated truth; they bound what a method can reach and are not ranked.")
    parts += list(rows["tuning"].dropna().unique())
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
    parts = [f"Mean of the row less mean of the reference row; in brackets {interval}"]
    if rows["resampled_p"].notna().any():
        parts.append("then the two-sided p of the corrected resampled t-test over folds")
    elif rows["bootstrap_p"].notna().any():
        parts.append("then the two-sided p of that bootstrap")
    if rows["holm_p"].notna().any():
        parts.append("the same p adjusted by Holm over the rows")
    if rows["wilcoxon_p"].notna().any():
        rank = "the p of the paired Wilcoxon signed-rank test, which takes overlapping folds for independent"
        parts.append(f"and {rank} and is too lenient")
    if rows["holm_p"].isna().all():
        bold = "Bold: the interval excludes 0; nothing is adjusted for the number of rows."
    else:
        bold = f"Bold: adjusted p < {SIGNIFICANT:g}, or, where that is missing, the interval excludes 0."
    grey = " Grey: below what the cohort can resolve." if (rows["difference"].abs() < rows["resolvable"]).any() else ""
    return f"{', '.join(parts)}. {bold}{grey}"


def published_caption(rows: pd.DataFrame) -> str:
    """Of a table that sets rows beside what was published."""
    return (
        f"{_spread(rows)} {_unit(rows)}. Published: value and ± as printed in {_sources(rows)}. Other patients, folds "
        "or units may stand behind a published value; it enters no score here. Letters refer to the notes."
    )
