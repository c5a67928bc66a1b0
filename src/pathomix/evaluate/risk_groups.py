"""Low- and high-risk patients for Kaplan-Meier curves, every patient once, and the pooled form the field prints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from lifelines.statistics import logrank_test

from pathomix.core.parameters import choice
from pathomix.evaluate.predictions import Runs

TRAINING, PATIENT, POOLED = "training", "patient", "pooled"
_Scored = tuple[pd.Series | None, str | None]


@dataclass(frozen=True)
class RiskGroups:
    """Two groups of test patients of a cohort.

    Attributes:
        patients: `patient_id`, `time` (months), `event`, `score`, `high`. One row per patient; with the rule
            ``pooled`` one per patient and fold.
        p_value: Two-sided log-rank test of the two groups; None where `problem` says why.
        problem: Why there is no test.
        left_out: Folds (and seeds) that could not contribute, with reasons, and the patients lost for it.
        rule: How the groups were made; see `risk_groups`.
        pooled: The same predictions by the rule ``pooled``, for comparison; None where the folds do not overlap.
    """

    patients: pd.DataFrame
    p_value: float | None
    problem: str | None
    left_out: tuple[str, ...]
    rule: str = TRAINING
    pooled: RiskGroups | None = None


def risk_groups(runs: Runs, method: str, cohort: str, scheme: str, rule: str | None = None) -> RiskGroups:
    """Split the test patients of all folds by risk.

    Rules:
        ``training``: score = (risk - median of the training risks) / (their standard deviation), averaged per patient
        over folds and seeds; high risk is a score above 0. With one test per patient and one seed this is the median
        split of the training part.
        ``patient``: risk z-scored inside the test part of its fold, averaged per patient over the folds and seeds in
        which he is tested; high risk is a score above the median patient (recommended for repeated folds, spec
        path_gptomic section 9.2).
        ``pooled``: the test rows of all folds together, cut at their median risk; a patient counts as often as he is
        tested, which inflates the significance, and risks of different models are mixed.

    Args:
        runs: Predictions; the rule ``training`` needs the training parts.
        method: Method whose risks are used.
        cohort: Cohort.
        scheme: Scheme of splits.
        rule: None takes ``patient`` where a patient is tested in several folds, else ``training``.

    Raises:
        PathomixError: The rule is unknown.
    """
    here = runs.expected.query("cohort == @cohort and scheme == @scheme and task == 'survival'")
    outcome = here.drop_duplicates("patient_id").set_index("patient_id")[["time", "event"]]
    overlapping = bool(here["patient_id"].duplicated().any())
    rule = rule or (PATIENT if overlapping else TRAINING)
    choice(rule, (TRAINING, PATIENT, POOLED), "rule of the risk groups")
    listed = runs.index.query("method == @method and cohort == @cohort and scheme == @scheme and task == 'survival'")
    scores, left_out = _scores(runs.predictions, listed, _RULES[rule])
    # Seeds of a fold are one model's worth: averaged before a fold is a row of its own.
    merged = scores.groupby(["fold", "patient_id"] if rule == POOLED else "patient_id")["score"].mean()
    patients = outcome.join(merged.reset_index().set_index("patient_id")["score"], how="inner")
    patients = patients.rename_axis("patient_id").reset_index().sort_values("patient_id", kind="stable")
    cut = 0.0 if rule == TRAINING else float(patients["score"].median())
    patients = patients.assign(high=patients["score"] > cut).reset_index(drop=True)
    lost = len(outcome) - patients["patient_id"].nunique()
    if lost:
        left_out.append(f"{lost} of {len(outcome)} patients have no usable prediction")
    p_value, problem = _logrank(patients)
    reference = risk_groups(runs, method, cohort, scheme, POOLED) if overlapping and rule != POOLED else None
    return RiskGroups(patients, p_value, problem, tuple(left_out), rule, reference)


def _scores(
    predictions: pd.DataFrame, listed: pd.DataFrame, score: Callable[[pd.Series, pd.Series], _Scored]
) -> tuple[pd.DataFrame, list[str]]:
    """Scores of the test patients of every run (`fold`, `patient_id`, `score`), and the runs without any."""
    found = [pd.DataFrame({"fold": pd.Series(dtype=int), "patient_id": [], "score": pd.Series(dtype=float)})]
    left_out: list[str] = []
    survival = predictions[(predictions["task"] == "survival") & predictions["risk"].notna()]
    for row in listed.to_dict("records"):
        part, lacking = None, row["problem"]
        if lacking is None:
            mine = survival[survival["run"] == row["run"]]
            test = mine[mine["part"] == "test"].set_index("patient_id")["risk"]
            part, lacking = score(test, mine.loc[mine["part"] == "train", "risk"])
        if part is None:
            left_out.append(f"fold {row['fold']} (seed {row['seed']}): {lacking}")
        else:
            found.append(part.rename("score").reset_index().assign(fold=row["fold"]))
    return (pd.concat(found[1:], ignore_index=True) if len(found) > 1 else found[0]), left_out


def _by_training(test: pd.Series, train: pd.Series) -> _Scored:
    """Risks of the test part in units of the training part, or why there are none."""
    values = train.to_numpy(np.float64)
    if len(values) < 2:
        return None, "no predictions of the training part"
    spread = float(values.std())
    if spread == 0:
        return None, "the risk is the same for every training patient"
    return (test - float(np.median(values))) / spread, None


def _by_test(test: pd.Series, train: pd.Series) -> _Scored:
    """Risks z-scored within the test part."""
    spread = float(test.std(ddof=0)) if len(test) > 1 else 0.0
    if spread == 0:
        return None, "the risk is the same for every test patient" if len(test) else "no predictions of the test part"
    return (test - test.mean()) / spread, None


def _raw(test: pd.Series, train: pd.Series) -> _Scored:
    return (test, None) if len(test) else (None, "no predictions of the test part")


_RULES: dict[str, Callable[[pd.Series, pd.Series], _Scored]] = {
    TRAINING: _by_training,
    PATIENT: _by_test,
    POOLED: _raw,
}


def _logrank(patients: pd.DataFrame) -> tuple[float | None, str | None]:
    high = patients["high"]
    if high.all() or not high.any():
        return None, "all patients are in one risk group" if len(patients) else "no patient has a usable prediction"
    if not patients["event"].any():
        return None, "no event"
    low, up = patients[~high], patients[high]
    return float(logrank_test(low["time"], up["time"], low["event"], up["event"]).p_value), None
