"""Ridge Cox with the parametrisation of lifelines' `CoxPHFitter(penalizer=p)`, plain or stratified.

Columns are z-scored (sample standard deviation) and the objective is mean(loglik) - p/2 |b|^2 in the coefficients of
the z-scored columns, with Efron ties and one baseline hazard per stratum; coefficients come back on the scale of the
columns as given. Solved on whole risk sets at once, in the row space where there are more columns than patients.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import LinAlgError, solve

from pathomix.core.errors import PathomixError
from pathomix.survival.concordance import Concordance, checked_outcome, harrell
from pathomix.survival.cox import RiskSets
from pathomix.survival.ridge import newton, row_space

Convergence = Literal["optimum", "lifelines"]
Floats = NDArray[np.float64]

log = logging.getLogger(__name__)

_SHOWN = 8
# What lifelines 0.30 stops by, and how it damps its steps.
_PRECISION, _RELATIVE_PRECISION, _STEPS = 1e-7, 1e-9, 500
_FIRST_STEP, _GROWTH, _SHRINKAGE, _SMALLEST_STEP = 0.95, 1.3, 0.98, 1e-5
_LONG, _VERY_LONG = 5.0, 15.0


@dataclass(frozen=True)
class ProbeCox:
    """A fitted ridge Cox model.

    Attributes:
        coefficients: [d], per unit of the columns as given; 0 for columns that were constant.
        mean: [d], of the fitted patients; log hazards are relative to it.
    """

    coefficients: Floats
    mean: Floats

    def log_hazard(self, design: ArrayLike) -> Floats:
        """Log partial hazard [n] of rows [n, d]; higher = worse."""
        return np.asarray((np.asarray(design, dtype=np.float64) - self.mean) @ self.coefficients)


class StratifiedRiskSets:
    """Partial likelihood with one baseline hazard per stratum: the sum of the strata's own.

    Args:
        time: [n], any unit.
        event: [n], 1 = happened.
        strata: [n], any labels that can be sorted; None = a single stratum. Ties are Efron's.
    """

    def __init__(self, time: ArrayLike, event: ArrayLike, strata: ArrayLike | None = None) -> None:
        times, events = checked_outcome(time, event)
        self._parts = [(rows, RiskSets(times[rows], events[rows], "efron")) for rows in _rows(strata, len(times))]

    @property
    def events(self) -> int:
        """Number of events."""
        return sum(part.events for _, part in self._parts)

    def loglik(self, eta: ArrayLike) -> float:
        """Log partial likelihood of log hazards [n]."""
        values = np.asarray(eta, dtype=np.float64)
        return sum(part.loglik(values[rows]) for rows, part in self._parts)

    def newton_terms(self, design: Floats, eta: ArrayLike) -> tuple[Floats, Floats]:
        """Gradient [p] and negative Hessian [p, p] in the coefficients of `design` [n, p]."""
        values = np.asarray(eta, dtype=np.float64)
        gradient, information = np.zeros(design.shape[1]), np.zeros((design.shape[1], design.shape[1]))
        for rows, part in self._parts:
            slope, curvature = part.newton_terms(np.take(design.T, rows, axis=1).T, values[rows])
            gradient += slope
            information += curvature
        return gradient, information


def probe_cox(
    design: ArrayLike,
    time: ArrayLike,
    event: ArrayLike,
    penalty: float,
    *,
    strata: ArrayLike | None = None,
    convergence: Convergence = "optimum",
) -> ProbeCox:
    """Fit the probe (spec modaltune 6.1).

    Args:
        design: [n, d], finite; not scaled by the caller. Columns with one value only get the coefficient 0 and are
            named in a warning.
        time: [n], any unit.
        event: [n], 1 = happened.
        penalty: lifelines' `penalizer`.
        strata: [n] labels; each stratum has its own baseline hazard.
        convergence: ``optimum``: solved to rounding. ``lifelines``: its damped iterates up to where it stops by
            default, which is up to about 1e-4 short of the optimum.

    Raises:
        PathomixError: A value is not finite, the lengths differ, no event, no column that varies, or no finite optimum.
    """
    matrix = np.asarray(design, dtype=np.float64)
    _check(matrix, time, penalty, convergence)
    risk_sets = StratifiedRiskSets(time, event, strata)
    if not risk_sets.events:
        raise PathomixError("no event among the training patients", remedy="use folds stratified by event")
    mean, spread = matrix.mean(axis=0), matrix.std(axis=0, ddof=1)
    varies = (np.ptp(matrix, axis=0) > 0) & (spread > 0)
    _report_constant(np.flatnonzero(~varies), len(varies), len(matrix))
    scores, directions = row_space((matrix[:, varies] - mean[varies]) / spread[varies])
    total = penalty * len(matrix)
    solver = newton if convergence == "optimum" else _as_lifelines
    solved = solver(scores, risk_sets, total, np.zeros(scores.shape[1]))
    coefficients = np.zeros(matrix.shape[1])
    coefficients[varies] = (solved if directions is None else directions @ solved) / spread[varies]
    return ProbeCox(coefficients, mean)


def stratified_concordance(time: ArrayLike, event: ArrayLike, risk: ArrayLike, strata: ArrayLike) -> Concordance:
    """Harrell's pairs counted within strata only and added up: `concordance_index_` of a stratified lifelines fit.

    `CoxPHFitter.score` counts pairs across strata also for a stratified model; that is `concordance.harrell`.
    """
    times, events = checked_outcome(time, event)
    risks = np.asarray(risk, dtype=np.float64).ravel()
    counts = [harrell(times[rows], events[rows], risks[rows]) for rows in _rows(strata, len(times))]
    return Concordance(
        sum(c.concordant for c in counts), sum(c.discordant for c in counts), sum(c.tied_risk for c in counts)
    )


def _rows(strata: ArrayLike | None, patients: int) -> list[NDArray[np.intp]]:
    """Row numbers of each stratum, strata sorted."""
    if strata is None:
        return [np.arange(patients)]
    labels = np.asarray(strata).ravel()
    if len(labels) != patients:
        raise PathomixError(f"{len(labels)} strata for {patients} patients", remedy="pass one per patient")
    return [np.flatnonzero(labels == label) for label in np.unique(labels)]


def _check(matrix: Floats, time: ArrayLike, penalty: float, convergence: str) -> None:
    if matrix.ndim != 2 or len(matrix) != np.size(time):
        raise PathomixError(
            f"the design has shape {matrix.shape} for {np.size(time)} patients", remedy="pass one row per patient"
        )
    bad = np.flatnonzero(~np.isfinite(matrix).all(axis=1))
    if len(bad):
        raise PathomixError(
            "the design is not finite at rows", offending=bad, remedy="leave out patients without a vector before"
        )
    if not (np.isfinite(penalty) and penalty >= 0):
        raise PathomixError(f"the Cox penalty is {penalty!r}", remedy="set `penalty` to a number of at least 0")
    if convergence not in ("optimum", "lifelines"):
        raise PathomixError(f"convergence is {convergence!r}", remedy="use optimum or lifelines")


def _report_constant(constant: NDArray[np.intp], columns: int, patients: int) -> None:
    if len(constant) == columns:
        raise PathomixError(
            f"all {columns} columns have one value only over the {patients} training patients",
            remedy="embed again: the representation gives every patient the same vector",
        )
    if len(constant):
        shown = ", ".join(str(column) for column in constant[:_SHOWN]) + (" ..." if len(constant) > _SHOWN else "")
        log.warning(
            "%d of %d columns have one value only over the %d training patients, and so no bearing on the hazard; "
            "their coefficients are 0: %s",
            len(constant),
            columns,
            patients,
            shown,
        )


class _Damping:
    """Length of lifelines' next step: cut after long steps, grown back while the steps get shorter."""

    def __init__(self) -> None:
        self.size = _FIRST_STEP
        self._cut = False
        self._lengths: list[float] = []

    def after(self, length: float) -> float:
        """Size of the step after one that proposed to move by `length`."""
        self._lengths.append(length)
        if self._cut:
            self.size = min(self.size * _GROWTH, _FIRST_STEP)
        if length > _LONG:
            self.size *= 0.1 if length >= _VERY_LONG else 0.25
            self._cut = True
        if len(self._lengths) >= 3:
            shorter = bool((np.diff(self._lengths[-3:]) < 0).all())
            self.size = min(self.size * _GROWTH, 1.0) if shorter else self.size * _SHRINKAGE
        return self.size


def _as_lifelines(scores: Floats, risk_sets: StratifiedRiskSets, penalty: float, start: Floats) -> Floats:
    """Newton's method as damped and ended by lifelines: the last proposed step is not taken."""
    scores = np.asfortranarray(scores)
    current, damping, before = start, _Damping(), 0.0
    for _ in range(_STEPS):
        eta = scores @ current
        gradient, information = risk_sets.newton_terms(scores, eta)
        gradient = gradient - penalty * current
        objective = risk_sets.loglik(eta) - 0.5 * penalty * float(current @ current)
        step = _solved(information + penalty * np.eye(len(current)), gradient)
        length = float(np.linalg.norm(step))
        gained_little = before != 0 and abs(objective - before) / -before < _RELATIVE_PRECISION
        if length < _PRECISION or gained_little or float(gradient @ step) / 2 < _PRECISION:
            return current
        before = objective
        size = damping.after(length)
        if size <= _SMALLEST_STEP:
            break
        current = current + size * step
    raise _no_optimum()


def _solved(matrix: Floats, vector: Floats) -> Floats:
    try:
        return np.asarray(solve(matrix, vector, assume_a="pos"))
    except (LinAlgError, ValueError) as error:
        raise _no_optimum() from error


def _no_optimum() -> PathomixError:
    return PathomixError(
        "the Cox probe with lifelines' steps does not converge",
        remedy="raise `penalty`, or set `convergence: optimum`",
    )
