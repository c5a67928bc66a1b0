"""Survival probabilities from a risk: a Cox model with the risk as its one covariate and Breslow's baseline."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pathomix.core.errors import PathomixError
from pathomix.survival.concordance import checked_outcome
from pathomix.survival.cox import RiskSets
from pathomix.survival.ridge import ridge_cox

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Baseline:
    """Breslow's cumulative baseline hazard, a right-continuous step function that is 0 before the first event.

    Attributes:
        time: [k] distinct event times, ascending.
        hazard: [k] cumulative hazard of a log hazard of 0.
        last: End of follow-up of the patients it was estimated from.
    """

    time: Floats
    hazard: Floats
    last: float

    def survival(self, log_hazard: ArrayLike, when: ArrayLike) -> Floats:
        """exp(-H0(t) exp(log_hazard)) of log hazards and times broadcast against each other."""
        place = np.searchsorted(self.time, np.asarray(when, dtype=np.float64), side="right")
        with np.errstate(divide="ignore", over="ignore"):
            logs = np.log(np.r_[0.0, self.hazard])[place]
            return np.asarray(np.exp(-np.exp(logs + np.asarray(log_hazard, dtype=np.float64))))


def breslow(time: ArrayLike, event: ArrayLike, log_hazard: ArrayLike) -> Baseline:
    """Baseline of given log hazards: at each event time the number of events over the risk set's sum of hazards.

    Args:
        time: [n], any unit.
        event: [n], 1 = happened.
        log_hazard: [n].

    Raises:
        PathomixError: No patient, no event, or the outcome is invalid.
    """
    times, events = checked_outcome(time, event)
    if not events.any():
        raise PathomixError("no event to estimate a baseline hazard from", remedy="use folds stratified by event")
    order = np.argsort(-times, kind="stable")
    logs = np.logaddexp.accumulate(np.asarray(log_hazard, dtype=np.float64)[order])
    when, deaths = np.unique(times[events], return_counts=True)
    # Patients in descending order: everybody with t_j >= t is a prefix.
    at_risk = np.searchsorted(-times[order], -when, side="right") - 1
    return Baseline(when, np.cumsum(deaths * np.exp(-logs[at_risk])), float(times.max()))


@dataclass(frozen=True)
class RiskCurves:
    """A fitted one-covariate Cox model.

    Attributes:
        coefficient: Log hazard per unit of risk.
        centre: Risk of the baseline.
        baseline: Its cumulative hazard.
    """

    coefficient: float
    centre: float
    baseline: Baseline

    @classmethod
    def fit(cls, time: ArrayLike, event: ArrayLike, risk: ArrayLike) -> RiskCurves:
        """Fit it (Breslow ties, no penalty).

        Args:
            time: [n], any unit.
            event: [n], 1 = happened.
            risk: [n], finite.

        Raises:
            PathomixError: No event, one risk for everybody, or no finite coefficient because the risks order all events
                of the patients without a mistake.
        """
        times, events = checked_outcome(time, event)
        risks = np.asarray(risk, dtype=np.float64)
        if not events.any():
            raise PathomixError("no event", remedy="use folds stratified by event")
        centre, spread = float(risks.mean()), float(risks.std())
        if np.ptp(risks) == 0 or spread == 0:
            raise PathomixError("the risk is the same for every patient", remedy="look at the fit of this run")
        scores = (risks - centre) / spread
        if _ordered(times, events, scores) or _ordered(times, events, -scores):
            raise PathomixError(
                "the risks order all events without a mistake: a Cox model of them has no finite coefficient",
                remedy="stop the training of this method earlier",
            )
        slope = float(ridge_cox(scores[:, None], times, events, 0.0)[0])
        return cls(slope / spread, centre, breslow(times, events, slope * scores))

    def survival(self, risk: ArrayLike, when: ArrayLike) -> Floats:
        """Probability of being alive after each time [k] for each risk [n]: [n, k]."""
        return self.baseline.survival(self._log_hazard(risk)[:, None], np.asarray(when, dtype=np.float64)[None])

    def survival_at(self, risk: ArrayLike, when: ArrayLike) -> Floats:
        """Probability of being alive after one's own time: risks [n] and times [n] to [n]."""
        return self.baseline.survival(self._log_hazard(risk), when)

    def _log_hazard(self, risk: ArrayLike) -> Floats:
        return np.asarray(self.coefficient * (np.asarray(risk, dtype=np.float64) - self.centre))


def _ordered(time: Floats, event: NDArray[np.bool_], score: Floats) -> bool:
    """Whether every event has the largest score of its risk set (the likelihood then grows without end)."""
    risk_sets = RiskSets(time, event)
    ranked = score[risk_sets.order]
    highest = np.maximum.accumulate(ranked)[risk_sets.last[risk_sets.term]]
    return bool((ranked[risk_sets.event] >= highest).all())
