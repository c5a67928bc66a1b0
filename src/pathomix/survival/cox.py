"""Cox partial likelihood, its gradient and the pieces of its Hessian (Breslow and Efron ties), float64.

Everything is evaluated on patients sorted by descending time, so that each risk set is a prefix and one running
(log-)sum serves all of them: O(n log n) once for the sort, O(n) per evaluation.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pathomix.core.errors import PathomixError
from pathomix.survival.concordance import checked_outcome

Ties = Literal["breslow", "efron"]
Floats = NDArray[np.float64]


class RiskSets:
    """Risk sets of one sample, prepared once for many evaluations.

    Args:
        time: [n], any unit.
        event: [n], 1 = happened.
        ties: ``breslow``: tied events share the full risk set {t_j >= t_i}. ``efron``: the r-th of m tied events
            (r = 0..m-1) has the fraction r/m of the tied events' hazard taken off.
    """

    def __init__(self, time: ArrayLike, event: ArrayLike, ties: Ties = "breslow") -> None:
        times, events = checked_outcome(time, event)
        if ties not in ("breslow", "efron"):
            raise PathomixError(f"unknown handling of ties {ties!r}", remedy="use breslow or efron")
        self.n = len(times)
        self.order = np.argsort(-times, kind="stable")
        self.event = events[self.order]
        ordered = times[self.order]
        first = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if self.n else np.zeros(0, dtype=np.intp)
        self.group = np.repeat(np.arange(len(first)), np.diff(np.r_[first, self.n]))
        self.last = np.r_[first[1:], self.n] - 1
        self.term = self.group[self.event]
        self.fraction = np.zeros(len(self.term))
        if ties == "efron":
            deaths = np.bincount(self.term, minlength=len(first))
            starts = np.r_[0, np.cumsum(deaths)[:-1]]
            self.fraction = (np.arange(len(self.term)) - starts[self.term]) / deaths[self.term]
        self.efron = bool(self.fraction.any())

    @property
    def events(self) -> int:
        """Number of events."""
        return len(self.term)

    def _log_denominators(self, eta: Floats) -> Floats:
        """Log of the (thinned) risk-set sum of every event, from `eta` in sorted order."""
        logs = np.logaddexp.accumulate(eta)[self.last[self.term]]
        if not self.efron:
            return np.asarray(logs)
        tied = np.full(len(self.last), -np.inf)
        np.logaddexp.at(tied, self.term, eta[self.event])
        return np.asarray(logs + np.log1p(-self.fraction * np.exp(tied[self.term] - logs)))

    def loglik(self, eta: ArrayLike) -> float:
        """Log partial likelihood at log hazards `eta` [n]; 0 without events."""
        values = self._sorted(eta)
        if not self.events:
            return 0.0
        return float(np.sum(values[self.event] - self._log_denominators(values)))

    def gradient(self, eta: ArrayLike) -> Floats:
        """Derivative of `loglik` by each log hazard, [n]: d_k - sum over events of their softmax weight on k."""
        values = self._sorted(eta)
        result = np.zeros(self.n)
        result[self.order] = self.event - self._expected(values)
        return result

    def _expected(self, eta: Floats) -> Floats:
        """Expected events of each patient (sorted): sum over events i with k at risk of exp(eta_k)/S_i, thinned."""
        if not self.events:
            return np.zeros(self.n)
        logs = self._log_denominators(eta)
        groups = len(self.last)
        inverse = np.full(groups, -np.inf)
        np.logaddexp.at(inverse, self.term, -logs)
        # Patient k is at risk in every tie group at or after its own position of the descending order.
        reach = np.logaddexp.accumulate(inverse[::-1])[::-1]
        expected = np.exp(eta + reach[self.group])
        if self.efron:
            thinned = np.full(groups, -np.inf)
            with np.errstate(divide="ignore"):
                np.logaddexp.at(thinned, self.term, np.log(self.fraction) - logs)
            expected = expected - self.event * np.exp(eta + thinned[self.group])
        return np.asarray(expected)

    def _sorted(self, eta: ArrayLike) -> Floats:
        values = np.asarray(eta, dtype=np.float64).ravel()
        if len(values) != self.n:
            raise PathomixError(f"{len(values)} log hazards for {self.n} patients", remedy="pass one per patient")
        return values[self.order]

    def newton_terms(self, design: Floats, eta: ArrayLike) -> tuple[Floats, Floats]:
        """Gradient [p] and negative Hessian [p, p] of the log likelihood in the coefficients of `design` [n, p].

        The Hessian is X' diag(w) X - sum_i m_i m_i' with w the expected events and m_i the risk-set mean of event i.
        Quickest for a design in Fortran order.
        """
        values = self._sorted(eta)
        # Patients along the contiguous axis: running sums are several times quicker there.
        columns = np.take(design.T, self.order, axis=1)
        expected = self._expected(values)
        gradient = columns @ (self.event - expected)
        hazard = np.exp(values - values.max())
        weighted = columns * hazard
        total, sums = np.cumsum(hazard), np.cumsum(weighted, axis=1)
        at = self.last[self.term]
        mean, mass = sums[:, at], total[at]
        if self.efron:
            _, first, place = np.unique(self.term, return_index=True, return_inverse=True)
            tied = np.add.reduceat(weighted[:, self.event], first, axis=1)
            tied_mass = np.add.reduceat(hazard[self.event], first)
            mean = mean - self.fraction * tied[:, place]
            mass = mass - self.fraction * tied_mass[place]
        # exp underflows only for patients 700 log hazards below the riskiest; their own risk set is then weightless.
        mean = np.divide(mean, mass, out=np.zeros_like(mean), where=mass > 0)
        # A product of a matrix with its own transpose costs half of a general one.
        spread = columns * np.sqrt(np.maximum(expected, 0.0))
        information = spread @ spread.T - mean @ mean.T
        return gradient, information


def log_partial_likelihood(time: ArrayLike, event: ArrayLike, eta: ArrayLike, ties: Ties = "breslow") -> float:
    """Log partial likelihood of log hazards `eta` [n] (Path-GPTomic eq. 2, to be maximised)."""
    return RiskSets(time, event, ties).loglik(eta)
