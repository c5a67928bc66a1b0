"""Low- and high-risk patients for Kaplan-Meier curves: the cut is fixed on training predictions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from lifelines.statistics import logrank_test

from pathomix.evaluate.predictions import Runs


@dataclass(frozen=True)
class RiskGroups:
    """One row per test patient of a cohort.

    Attributes:
        patients: `patient_id`, `time` (months), `event`, `score`, `high`. The score is the mean, over the folds and
            seeds in which the patient was tested, of (risk - median of the training risks) / (their standard
            deviation); high risk means a score above 0. With one test per patient and one seed this is the median
            split of the training part.
        p_value: Two-sided log-rank test of the two groups; None where `problem` says why.
        problem: Why there is no test.
        left_out: Folds (and seeds) that could not contribute, with reasons, and the patients lost for it.
    """

    patients: pd.DataFrame
    p_value: float | None
    problem: str | None
    left_out: tuple[str, ...]


def risk_groups(runs: Runs, method: str, cohort: str, scheme: str) -> RiskGroups:
    """Split the test patients of all folds by risk (recommended rule of spec section 9.2).

    A patient counts once: pooling the repeated test rows of overlapping folds would inflate the significance.

    Args:
        runs: Predictions with the training parts.
        method: Method whose risks are used.
        cohort: Cohort.
        scheme: Scheme of splits.
    """
    listed = runs.index.query("method == @method and cohort == @cohort and scheme == @scheme and task == 'survival'")
    scores: list[pd.Series] = []
    left_out: list[str] = []
    for row in listed.to_dict("records"):
        part, lacking = None, row["problem"]
        if lacking is None:
            part, lacking = _standardised(runs.predictions, row["run"])
        if part is None:
            left_out.append(f"fold {row['fold']} (seed {row['seed']}): {lacking}")
        else:
            scores.append(part)
    here = runs.expected.query("cohort == @cohort and scheme == @scheme and task == 'survival'")
    outcome = here.drop_duplicates("patient_id").set_index("patient_id")[["time", "event"]]
    merged = pd.concat(scores) if scores else pd.Series(dtype=float)
    mean = merged.groupby(level=0).mean().rename("score").rename_axis("patient_id")
    patients = outcome.join(mean, how="inner").sort_index().reset_index()
    patients["high"] = patients["score"] > 0
    lost = len(outcome) - len(patients)
    if lost:
        left_out.append(f"{lost} of {len(outcome)} patients have no usable prediction")
    p_value, problem = _logrank(patients)
    return RiskGroups(patients, p_value, problem, tuple(left_out))


def _standardised(predictions: pd.DataFrame, run: int) -> tuple[pd.Series | None, str | None]:
    """Risks of the test part in units of the training part, or why there are none."""
    mine = predictions[(predictions["run"] == run) & (predictions["task"] == "survival") & predictions["risk"].notna()]
    train = mine.loc[mine["part"] == "train", "risk"].to_numpy(np.float64)
    test = mine[mine["part"] == "test"].set_index("patient_id")["risk"]
    if len(train) < 2:
        return None, "no predictions of the training part"
    spread = float(train.std())
    if spread == 0:
        return None, "the risk is the same for every training patient"
    return (test - float(np.median(train))) / spread, None


def _logrank(patients: pd.DataFrame) -> tuple[float | None, str | None]:
    high = patients["high"]
    if high.all() or not high.any():
        return None, "all patients are in one risk group" if len(patients) else "no patient has a usable prediction"
    if not patients["event"].any():
        return None, "no event"
    low, up = patients[~high], patients[high]
    return float(logrank_test(low["time"], up["time"], low["event"], up["event"]).p_value), None
