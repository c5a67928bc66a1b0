"""Calibration of survival probabilities: predicted against observed at one time, and D-calibration over all times.

Probabilities come from predictions alone (see `survival_metrics.risk_curves`). Every test patient counts once: his
survival curve is the mean of those of the folds and seeds he is tested in.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pathomix.core.provenance import Provenance
from pathomix.core.tables import Column, TableSchema, write_table
from pathomix.evaluate.parts import Block, TestPart, blocks
from pathomix.evaluate.predictions import Runs
from pathomix.evaluate.statistics import UndefinedMetric
from pathomix.evaluate.survival_metrics import risk_curves
from pathomix.survival.breslow import RiskCurves
from pathomix.survival.d_calibration import BINS, d_calibration
from pathomix.survival.kaplan_meier import kaplan_meier

Floats = NDArray[np.float64]
GROUPS = 5
# Below five patients expected per interval the chi-square distribution is a poor approximation (Cochran's rule).
_FEWEST = 5 * BINS

_PLACE = {"method": Column("str"), "cohort": Column("str"), "scheme": Column("str")}

# Groups of equally many patients by predicted survival at the horizon, 0 the lowest; equal predictions stay together.
#   horizon    months: the median of the cohort's event times
#   n_events   events up to the horizon
#   predicted  mean predicted survival at the horizon
#   observed   Kaplan-Meier estimate there with its 95 % interval (log-log); missing where `reason` says why
# A method without any probability has a single row of no patients; `reason` also tells runs that are left out.
CALIBRATION = TableSchema(
    "calibration",
    ("method", "cohort", "scheme", "group"),
    {
        **_PLACE,
        "group": Column("int64"),
        "horizon": Column("float64", nullable=True),
        "n_patients": Column("int64"),
        "n_events": Column("int64"),
        "predicted": Column("float64", nullable=True),
        "observed": Column("float64", nullable=True),
        "observed_lower": Column("float64", nullable=True),
        "observed_upper": Column("float64", nullable=True),
        "reason": Column("object", nullable=True),
    },
)

# Test of D-calibration (Haider et al. 2020): chi-square of the predicted survival at the patients' own times against
# the uniform distribution; a small p says that the probabilities are not calibrated.
D_CALIBRATION = TableSchema(
    "d_calibration",
    ("method", "cohort", "scheme"),
    {
        **_PLACE,
        "statistic": Column("float64", nullable=True),
        "degrees": Column("Int64", nullable=True),
        "p": Column("float64", nullable=True),
        "n_patients": Column("int64"),
        "reason": Column("object", nullable=True),
    },
)


@dataclass(frozen=True)
class _Predicted:
    """Patients of a block that have a survival curve.

    Attributes:
        time: [n] months, cut at the end of the follow-up of the training parts: no curve says what comes after.
        event: [n] 0/1, 0 where the time was cut.
        at_horizon: [n] predicted survival at the horizon.
        at_time: [n] predicted survival at `time`.
        note: Runs and patients left out, None where none is.
    """

    time: Floats
    event: Floats
    at_horizon: Floats
    at_time: Floats
    note: str | None


def calibration(runs: Runs) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Calibration of every method on every cohort.

    Returns:
        CALIBRATION and D_CALIBRATION rows.
    """
    curves: list[dict[str, Any]] = []
    tests: list[dict[str, Any]] = []
    for block in blocks(runs):
        if block.task != "survival":
            continue
        time, event = block.outcomes()
        horizon = float(np.median(time[event == 1])) if (event == 1).any() else float("nan")
        for method, listed in block.runs.groupby("method"):
            place = {"method": str(method), "cohort": block.cohort, "scheme": block.scheme}
            predicted = _predicted(block, listed, horizon)
            curves += [{**place, **row} for row in _curve(predicted, horizon)]
            tests.append({**place, **_d_calibration(predicted)})
    return (
        pd.DataFrame(curves, columns=list(CALIBRATION.columns)),
        pd.DataFrame(tests, columns=list(D_CALIBRATION.columns)),
    )


def write_calibration(
    runs: Runs,
    curves_path: str | os.PathLike[str],
    tests_path: str | os.PathLike[str],
    inputs: Mapping[str, str],
    parameters: Mapping[str, Any],
) -> None:
    """Write CALIBRATION and D_CALIBRATION of one study.

    Args:
        runs: Runs of the study.
        curves_path: Output, one row per method, cohort and group of patients.
        tests_path: Output, one row per method and cohort.
        inputs: Name to content hash, for the lineage.
        parameters: What the evaluation was told, for the lineage.
    """
    curves, tests = calibration(runs)
    facts = {**parameters, "groups": GROUPS, "bins": BINS}
    write_table(curves, CALIBRATION, curves_path, Provenance("calibration", CALIBRATION.version, inputs, facts))
    write_table(tests, D_CALIBRATION, tests_path, Provenance("d_calibration", D_CALIBRATION.version, inputs, facts))


def _predicted(block: Block, listed: pd.DataFrame, horizon: float) -> _Predicted:
    """Mean curves over the runs of one method."""
    found: list[tuple[TestPart, RiskCurves]] = []
    left_out = []
    for row in listed.to_dict("records"):
        part = block.part(row["run"], row["fold"]) if row["problem"] is None else None
        try:
            found.append(_fitted(part, row["problem"], horizon))
        except UndefinedMetric as error:
            left_out.append(f"fold {row['fold']} (seed {row['seed']}): {error}")
    time, event = block.outcomes()
    end = min((curves.baseline.last for _, curves in found), default=float("inf"))
    event, time = np.where(time <= end, event, 0.0), np.minimum(time, end)
    sums = np.zeros((3, len(time)))
    for part, curves in found:
        mine = part.position
        at_horizon = curves.survival_at(part.risk, np.full(len(mine), horizon))
        at_time = curves.survival_at(part.risk, time[mine])
        for total, values in zip(sums, (np.ones(len(mine)), at_horizon, at_time), strict=True):
            np.add.at(total, mine, values)
    known = sums[0] > 0
    if lost := int((~known).sum()):
        left_out.append(f"{lost} of {len(known)} patients have no survival probability")
    at_horizon, at_time = sums[1:, known] / sums[0, known]
    return _Predicted(time[known], event[known], at_horizon, at_time, "; ".join(left_out) or None)


def _fitted(part: TestPart | None, problem: str | None, horizon: float) -> tuple[TestPart, RiskCurves]:
    """The test part of one run with the curves of its training part."""
    if part is None or not len(part.risk):
        raise UndefinedMetric(problem or "no test patient has a prediction")
    if np.isnan(horizon):
        raise UndefinedMetric("no event among the test patients")
    curves = risk_curves(part)
    if curves.baseline.last < horizon:
        raise UndefinedMetric(
            f"the follow-up of the training part ends at {curves.baseline.last:.1f} months, before the horizon"
        )
    return part, curves


def _curve(predicted: _Predicted, horizon: float) -> Iterator[dict[str, Any]]:
    """Rows of CALIBRATION without their place."""
    missing = dict.fromkeys(("predicted", "observed", "observed_lower", "observed_upper"), float("nan"))
    if not len(predicted.time):
        none = {"group": 0, "horizon": horizon, "n_patients": 0, "n_events": 0, "reason": predicted.note}
        yield {**missing, **none}
        return
    inner = np.quantile(predicted.at_horizon, np.arange(1, GROUPS) / GROUPS)
    group = np.unique(np.searchsorted(inner, predicted.at_horizon, side="left"), return_inverse=True)[1]
    for number in range(group.max() + 1):
        mine = group == number
        time, event = predicted.time[mine], predicted.event[mine]
        observed = kaplan_meier(time, event)
        row = {
            **missing,
            "group": number,
            "horizon": horizon,
            "n_patients": int(mine.sum()),
            "n_events": int(event[time <= horizon].sum()),
            "predicted": float(predicted.at_horizon[mine].mean()),
            "reason": predicted.note,
        }
        if observed.last < horizon and observed.at(horizon) > 0:
            ends = f"nobody of the group is followed to {horizon:.1f} months"
            row["reason"] = ends if predicted.note is None else f"{ends}; {predicted.note}"
        else:
            row["observed"] = float(observed.at(horizon))
            row["observed_lower"], row["observed_upper"] = observed.interval(horizon)
        yield row


def _d_calibration(predicted: _Predicted) -> dict[str, Any]:
    """Row of D_CALIBRATION without its place."""
    count = len(predicted.time)
    if not count:
        return {
            "statistic": float("nan"),
            "degrees": None,
            "p": float("nan"),
            "n_patients": 0,
            "reason": predicted.note,
        }
    found = d_calibration(predicted.at_time, predicted.event, BINS)
    few = f"{count} patients are few for {BINS} intervals: the p-value is rough" if count < _FEWEST else None
    return {
        "statistic": found.statistic,
        "degrees": found.degrees,
        "p": found.p,
        "n_patients": count,
        "reason": "; ".join(text for text in (few, predicted.note) if text) or None,
    }
