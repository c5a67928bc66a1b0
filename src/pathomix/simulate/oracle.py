"""What the true log-hazard, whole and by modality, can reach on a simulated cohort."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pathomix.simulate.patients import CONTRIBUTIONS

ORACLES = ("total", *CONTRIBUTIONS)
_REPLICATES = 1000


def concordance(
    time: NDArray[np.float64], event: NDArray[np.bool_], risk: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Harrell's c by counting every pair, for several weightings of the patients at once.

    A pair is comparable when the patient with the event has the shorter time, or the same time as a censored one;
    tied risks count one half (Harrell et al., Stat Med 1996).

    Args:
        time: [patients].
        event: [patients], True where the endpoint happened.
        risk: [patients], higher = worse.
        weights: [weightings, patients]: how often each patient is in a sample; ones for the cohort itself.

    Returns:
        One c per weighting; NaN where no pair is comparable.
    """
    earlier = (time[:, None] < time) | ((time[:, None] == time) & ~event)
    comparable = (event[:, None] & earlier).astype(float)
    higher = (risk[:, None] > risk) + 0.5 * (risk[:, None] == risk)
    good = np.einsum("bi,bi->b", weights @ (comparable * higher), weights)
    pairs = np.einsum("bi,bi->b", weights @ comparable, weights)
    with np.errstate(invalid="ignore", divide="ignore"):
        result: NDArray[np.float64] = good / pairs
    return result


def oracle_report(truth: pd.DataFrame, random: np.random.Generator, parameters: dict[str, Any]) -> dict[str, Any]:
    """Concordance of the total log-hazard and of each contribution alone, with patient bootstrap intervals.

    Args:
        truth: Columns of `ORACLES`, `time`, `event`, `mechanism`, one row per patient.
        random: Generator of the bootstrap.
        parameters: Parameters of the simulator, copied into the report.
    """
    n = len(truth)
    samples = random.multinomial(n, np.full(n, 1 / n), size=_REPLICATES).astype(float)
    weights = np.vstack([np.ones(n), samples])
    time, event = truth["time"].to_numpy(), truth["event"].to_numpy().astype(bool)
    concordances = {}
    for name in ORACLES:
        c = concordance(time, event, truth[name].to_numpy(), weights)
        low, high = np.nanquantile(c[1:], [0.025, 0.975])
        concordances[name] = {
            "c": round(float(c[0]), 6),
            "low": round(float(low), 6),
            "high": round(float(high), 6),
            "standard_error": round(float(np.nanstd(c[1:], ddof=1)), 6),
        }
    return {
        "concordance": concordances,
        "patients": n,
        "event_share": round(float(event.mean()), 6),
        "mechanisms": {str(k): int(v) for k, v in truth["mechanism"].value_counts().sort_index().items()},
        "class_counts": {str(k): int(v) for k, v in truth["class"].value_counts().sort_index().items()},
        "bootstrap_replicates": _REPLICATES,
        "parameters": parameters,
    }
