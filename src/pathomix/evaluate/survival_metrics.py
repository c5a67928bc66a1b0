"""Metrics of a predicted risk: Harrell's and Uno's concordance, time-dependent AUC, integrated Brier score."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pathomix.core.errors import PathomixError
from pathomix.evaluate.parts import TestPart
from pathomix.evaluate.statistics import AucStatistic, MeanStatistic, PairStatistic, UndefinedMetric
from pathomix.survival.breslow import RiskCurves
from pathomix.survival.brier import brier_terms, integrated
from pathomix.survival.censoring import Censoring
from pathomix.survival.dynamic_auc import DynamicAuc
from pathomix.survival.pairs import Pairs, harrell_pairs, uno_pairs

Floats = NDArray[np.float64]
_GRID = 50


def c_index(test: TestPart) -> PairStatistic:
    """Harrell's concordance of `risk` (higher = worse) with `time` and `event` (Path-GPTomic section 9).

    Raises:
        UndefinedMetric: No event, no comparable pair, or one risk for everybody.
    """
    _refuse_no_event(test)
    return _concordance(harrell_pairs(test.time, test.event, test.risk), test)


def uno_c(test: TestPart) -> PairStatistic:
    """Uno's concordance (2011), truncated at the last of the cohort's evaluation times.

    Raises:
        UndefinedMetric: As for `c_index`, or the follow-up of the training part gives no censoring weights.
    """
    _refuse_no_event(test)
    censoring, tau = _censoring(test), float(test.times[-1])
    return _concordance(uno_pairs(test.time, test.event, test.risk, censoring, tau), test)


def auc_t(test: TestPart) -> AucStatistic:
    """Mean cumulative/dynamic AUC over the cohort's evaluation times; see `DynamicAuc.mean` for the mean.

    Raises:
        UndefinedMetric: No event, one risk for everybody, no censoring weights, or at one of the times nobody has died
            or nobody is followed any more.
    """
    _refuse_no_event(test)
    _refuse_constant(test)
    statistic = AucStatistic.of(DynamicAuc.of(test.time, test.event, test.risk, _censoring(test), test.times))
    if np.isnan(statistic.value):
        died = test.event.astype(bool) & (test.time <= test.times[-1])
        if not died.any():
            raise UndefinedMetric(f"no test patient dies up to {test.times[-1]:.1f} months")
        lost = test.times[test.times >= test.time.max()][0]
        raise UndefinedMetric(f"no test patient is followed beyond {lost:.1f} months")
    return statistic


def ibs(test: TestPart) -> MeanStatistic:
    """Brier score of survival probabilities, integrated from the first to the last evaluation time; lower is better.

    The probabilities come from a Cox model of the outcome on the row's own risk, fitted on the run's training part.

    Raises:
        UndefinedMetric: No event, one risk for everybody (in the test or in the training part), no predictions of the
            training part, or some that order its events without a mistake, no censoring weights, or a single time.
    """
    _refuse_no_event(test)
    _refuse_constant(test)
    censoring = _censoring(test)
    if len(test.times) < 2:
        raise UndefinedMetric("the events of the cohort are all at one time")
    moments = np.linspace(test.times[0], test.times[-1], _GRID)
    survival = risk_curves(test).survival(test.risk, moments)
    return MeanStatistic(integrated(brier_terms(test.time, test.event, survival, moments, censoring), moments))


def risk_curves(test: TestPart) -> RiskCurves:
    """Survival curves of a run's risks, from its training part.

    Raises:
        UndefinedMetric: The training part has no predictions, or no Cox model can be fitted to them.
    """
    trained = test.trained
    if trained is None:
        raise UndefinedMetric("no survival probabilities without predictions of the training part")
    try:
        return RiskCurves.fit(trained.time, trained.event, trained.risk)
    except PathomixError as error:
        raise UndefinedMetric(f"no survival probabilities from the training part: {error.fact}") from error


def _concordance(pairs: Pairs, test: TestPart) -> PairStatistic:
    if not pairs.comparable.any():
        raise UndefinedMetric("no comparable pair among the test patients")
    _refuse_constant(test)
    return PairStatistic.of(pairs)


def _refuse_no_event(test: TestPart) -> None:
    if not test.event.any():
        raise UndefinedMetric("no event among the test patients")


def _refuse_constant(test: TestPart) -> None:
    if np.ptp(test.risk) == 0:
        raise UndefinedMetric("the risk is the same for every test patient")


def _censoring(test: TestPart) -> Censoring:
    """Censoring of the training part, known up to the last evaluation time."""
    if test.censoring is None:
        raise UndefinedMetric("no censoring weights without outcomes of the training part")
    reason = test.censoring.problem(float(test.times[-1]))
    if reason is not None:
        raise UndefinedMetric(f"no censoring weights: {reason} months")
    return test.censoring
