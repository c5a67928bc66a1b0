"""Ridge Cox regression: maximise loglik(X b) - lambda/2 |b|^2, Newton steps in the row space of X.

The penalised optimum lies in the row space. With more columns than patients, the thin factorisation X' = V R of an
orthonormal V turns the problem in p coefficients b = V g into one in n coefficients g of Z = R', with the same
penalty: |b|^2 = |V g|^2 = |g|^2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from pathomix.core.errors import PathomixError
from pathomix.survival.cox import RiskSets, Ties

Floats = NDArray[np.float64]


class Likelihood(Protocol):
    """A partial likelihood, plain or stratified."""

    def loglik(self, eta: ArrayLike) -> float:
        """Log partial likelihood of log hazards [n]."""
        ...

    def newton_terms(self, design: Floats, eta: ArrayLike) -> tuple[Floats, Floats]:
        """Gradient [p] and negative Hessian [p, p] in the coefficients of `design` [n, p]."""
        ...


_STEPS = 100
_HALVINGS = 40
_TOLERANCE = 1e-10


def row_space(design: Floats) -> tuple[Floats, Floats | None]:
    """Scores Z [n, r] and orthonormal directions V [p, r] with X = Z V'; V is None where X is narrow already."""
    if design.shape[1] <= design.shape[0]:
        return design, None
    directions, triangle = np.linalg.qr(design.T)
    return np.ascontiguousarray(triangle.T), directions


def ridge_cox_path(
    design: ArrayLike, time: ArrayLike, event: ArrayLike, penalties: Sequence[float], ties: Ties = "breslow"
) -> Floats:
    """Coefficients for every penalty, each solved to its own optimum, warm-started from the next larger penalty.

    Args:
        design: [n, p], centred and scaled by the caller (there is no intercept in a Cox model).
        time: [n].
        event: [n], 1 = happened.
        penalties: lambda of ``-loglik + lambda/2 |b|^2`` (sums over patients, not means), any order.
        ties: Handling of tied events.

    Returns:
        [len(penalties), p], in the order given.

    Raises:
        PathomixError: No event, or no finite optimum (a penalty of 0 with separable data).
    """
    matrix = np.asarray(design, dtype=np.float64)
    risk_sets = RiskSets(time, event, ties)
    if not risk_sets.events:
        raise PathomixError("no event among the training patients", remedy="use folds stratified by event")
    scores, directions = row_space(matrix)
    result = np.zeros((len(penalties), matrix.shape[1]))
    start = np.zeros(scores.shape[1])
    for position in np.argsort(-np.asarray(penalties, dtype=np.float64), kind="stable"):
        start = newton(scores, risk_sets, float(penalties[position]), start)
        result[position] = start if directions is None else directions @ start
    return result


def ridge_cox(
    design: ArrayLike, time: ArrayLike, event: ArrayLike, penalty: float = 0.0, ties: Ties = "breslow"
) -> Floats:
    """Coefficients [p] for one penalty, started from 0; see `ridge_cox_path`."""
    return np.asarray(ridge_cox_path(design, time, event, [penalty], ties)[0])


def newton(scores: Floats, risk_sets: Likelihood, penalty: float, start: Floats) -> Floats:
    """Optimum of loglik(scores g) - penalty/2 |g|^2: Newton with step halving, until no further gain is promised.

    Args:
        scores: [n, r].
        risk_sets: Partial likelihood of the n log hazards.
        penalty: lambda, on the sum over patients.
        start: [r].

    Raises:
        PathomixError: No finite optimum.
    """

    def objective(value: Floats) -> float:
        return -risk_sets.loglik(scores @ value) + 0.5 * penalty * float(value @ value)

    scores = np.asfortranarray(scores)
    current, loss = start, objective(start)
    for _ in range(_STEPS):
        gradient, information = risk_sets.newton_terms(scores, scores @ current)
        gradient = gradient - penalty * current
        step = _solve(information + penalty * np.eye(len(current)), gradient)
        gain = float(gradient @ step)
        if gain <= _TOLERANCE * (1.0 + abs(loss)):
            # One last full step: convergence is quadratic here, it brings the coefficients to rounding.
            return current + step if objective(current + step) <= loss else current
        size = 1.0
        for _ in range(_HALVINGS):
            candidate = current + size * step
            value = objective(candidate)
            if np.isfinite(value) and value <= loss - 1e-4 * size * gain:
                break
            size /= 2.0
        else:
            return current
        current, loss = candidate, value
    raise PathomixError(
        f"ridge Cox did not converge in {_STEPS} Newton steps (penalty {penalty:g})",
        remedy="raise the smallest penalty; with a penalty of 0 the data may be separable",
    )


def _solve(matrix: Floats, vector: Floats) -> Floats:
    try:
        return np.asarray(cho_solve(cho_factor(matrix), vector))
    except LinAlgError:
        # A flat direction (penalty 0, collinear columns): the shortest of the equivalent steps.
        return np.asarray(np.linalg.lstsq(matrix, vector, rcond=None)[0])
