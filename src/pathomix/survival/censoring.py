"""Inverse-probability-of-censoring weights from the training part (Uno et al. 2011; Graf et al. 1999)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pathomix.core.errors import PathomixError
from pathomix.survival.concordance import checked_outcome
from pathomix.survival.kaplan_meier import KaplanMeier, censoring_curve

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Censoring:
    """The distribution of the censoring time.

    Attributes:
        curve: G(t), the probability of being followed beyond t; right-continuous.
    """

    curve: KaplanMeier

    @classmethod
    def of(cls, time: ArrayLike, event: ArrayLike) -> Censoring:
        """Estimate it from patients, usually the training part's.

        Raises:
            PathomixError: No patient, or the outcome is invalid.
        """
        return cls(censoring_curve(time, event))

    def problem(self, until: float) -> str | None:
        """Why there are no weights up to a time; None where there are."""
        if until > self.curve.last:
            return f"{until:.1f} lies beyond the follow-up of the training part, which ends at {self.curve.last:.1f}"
        if self.curve.at(until) <= 0:
            return f"everybody of the training part who could be is censored by {until:.1f}"
        return None

    def at(self, when: ArrayLike) -> Floats:
        """G at times.

        Raises:
            PathomixError: No weights exist up to the largest of them.
        """
        times = np.asarray(when, dtype=np.float64)
        reason = self.problem(float(times.max(initial=-np.inf)))
        if reason is not None:
            raise PathomixError(
                f"no censoring weights: {reason}", remedy="evaluate at earlier times, or train on more patients"
            )
        return self.curve.at(times)

    def weights(self, time: ArrayLike, event: ArrayLike, until: float = np.inf) -> Floats:
        """1 / G(t_i) of patients with the event at or before `until`, 0 for all others, [n].

        Raises:
            PathomixError: Such an event lies where no weights exist, or the outcome is invalid.
        """
        times, events = checked_outcome(time, event)
        counted = events & (times <= until)
        result = np.zeros(len(times))
        result[counted] = 1.0 / self.at(times[counted])
        return result
