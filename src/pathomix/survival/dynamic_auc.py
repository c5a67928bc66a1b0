"""Cumulative/dynamic area under the ROC curve at several times (Uno et al. 2007), under every resample.

At time t the cases are the events up to t, weighted by 1 / G(t_i), the controls everybody observed beyond t. With the
controls in order of risk, those below each case are a running sum: O(n) per time and resample.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pathomix.survival.censoring import Censoring
from pathomix.survival.concordance import checked_outcome
from pathomix.survival.kaplan_meier import resampled_survival

Floats = NDArray[np.float64]
Counts = NDArray[np.float32]


@dataclass(frozen=True)
class DynamicAuc:
    """One sample of patients and the times to look at.

    Attributes:
        time: [n].
        event: [n].
        risk: [n].
        weight: [n], 1 / G(t_i) for events up to the last of `times`, else 0.
        times: [k], ascending.
    """

    time: Floats
    event: NDArray[np.bool_]
    risk: Floats
    weight: Floats
    times: Floats

    @classmethod
    def of(
        cls, time: ArrayLike, event: ArrayLike, risk: ArrayLike, censoring: Censoring, times: ArrayLike
    ) -> DynamicAuc:
        """Prepare.

        Args:
            time: [n], unit of `censoring`.
            event: [n], 1 = happened.
            risk: [n], finite, higher = worse.
            censoring: Of the training part.
            times: [k], ascending.

        Raises:
            PathomixError: An event up to the last time lies where no censoring weights exist.
        """
        observed, events = checked_outcome(time, event)
        moments = np.asarray(times, dtype=np.float64)
        weight = censoring.weights(observed, events, float(moments.max()))
        return cls(observed, events, np.asarray(risk, dtype=np.float64), weight, moments)

    def at_times(self, counts: Counts) -> Floats:
        """AUC at each time in each resample, [resamples, k]; NaN without a case or a control.

        Args:
            counts: [resamples, n], how often each patient of the sample is drawn.
        """
        return self._at_times(np.ascontiguousarray(counts.T)).T

    def mean(self, counts: Counts) -> Floats:
        """Mean of the AUC over the times in each resample, weighted by the drop of the sample's survival up to each.

        The weights are S(t_{k-1}) - S(t_k) over 1 - S(t_last), with S the Kaplan-Meier estimate and S(t_0) = 1
        (Lambert and Chevret 2014, as scikit-survival has it). A time before which nobody died has no AUC and no weight:
        it does not count (scikit-survival: NaN). NaN where a time of some weight has no AUC.
        """
        # Resamples along the contiguous axis: rows are gathered and summed several times quicker than columns.
        drawn = np.ascontiguousarray(counts.T)
        curve = resampled_survival(self.time, self.event, drawn, self.times)
        drops = -np.diff(curve, axis=0, prepend=1.0)
        values = np.where(drops > 0, self._at_times(drawn), 0.0)
        total = drops.sum(axis=0)
        top = (values * drops).sum(axis=0)
        return np.asarray(np.divide(top, total, out=np.full(len(counts), np.nan), where=total > 0))

    def _at_times(self, drawn: Counts) -> Floats:
        dying = np.flatnonzero(self.weight > 0)
        weighted = drawn[dying] * self.weight[dying, None]
        result = np.full((len(self.times), drawn.shape[1]), np.nan)
        for row, moment in zip(result, self.times, strict=True):
            cases = self.time[dying] <= moment
            controls = np.flatnonzero(self.time > moment)
            controls = controls[np.argsort(self.risk[controls], kind="stable")]
            passed = np.zeros((len(controls) + 1, drawn.shape[1]), dtype=np.float32)
            np.cumsum(drawn[controls], axis=0, out=passed[1:])
            own = weighted[cases]
            top = np.einsum("cb,cb->b", self._below(passed, controls, dying[cases]), own)
            bottom = own.sum(axis=0) * passed[-1]
            # The two sums add in different orders: where every control lies below, rounding may put top above bottom.
            np.divide(np.minimum(top, bottom), bottom, out=row, where=bottom > 0)
        return result

    def _below(self, passed: Counts, controls: NDArray[np.intp], cases: NDArray[np.intp]) -> Counts:
        """Controls drawn with a lower risk than each case, and half of those with the same, [cases, resamples]."""
        ranked = self.risk[controls]
        lower, up_to = (np.searchsorted(ranked, self.risk[cases], side=side) for side in ("left", "right"))
        below = passed[lower]
        tied = np.flatnonzero(up_to > lower)
        # Halves of counts: exact in float32 below 2^23.
        below[tied] = np.float32(0.5) * (below[tied] + passed[up_to[tied]])
        return below
