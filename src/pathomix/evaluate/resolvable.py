"""The resolvable difference: the smallest true difference of two rows that the table would probably show.

How much the difference of two rows would change in another cohort like this one is known already: the patient bootstrap
redraws the cohort with its events and its folds, keeps the rows' own risks and so their correlation, and works for
every metric. What is left is the power of the test that the table uses (80 % at two-sided 5 %), in closed form:

* paired bootstrap: the difference is found when it lies ``z(0.975) se`` from 0; it scatters around the truth with
  ``se``, and with the seeds of both rows beside it, of which the bootstrap knows nothing;
* corrected resampled t-test, where test parts overlap: the spread over folds is the test's own, and the power that of
  the noncentral t distribution.

The truth meant is the difference of the rows' expected values on the population that the cohort was drawn from. A block
holds many pairs of rows, some alike and some not: its value is the median over those that the table compares, all rows
with the reference, or over all pairs where there is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, nctdtrinc, ndtri, stdtrit

from pathomix.evaluate.bootstrap import LEVEL, ROUNDING, usable_draws
from pathomix.evaluate.resampled import MINIMUM_FOLDS, too_few_folds

POWER = 0.8
NO_ROW = "no row has a value"
ONE_ROW = "only one row has a value: as if a second of the same spread shared nothing with it"
NO_PAIR = "no two rows differ on the same folds"


@dataclass(frozen=True)
class Pair:
    """What the data say about the difference of two rows.

    Attributes:
        draws: [resamples], difference of the means under each resample of the patients.
        folds: [k], difference in each fold.
        ratio: Test patients per training patient of a fold; NaN where it is not known.
        seed_variance: Variance of the difference of the means over further seeds of the same folds.
    """

    draws: NDArray[np.float64]
    folds: NDArray[np.float64]
    ratio: float
    seed_variance: float


@dataclass(frozen=True)
class Resolvable:
    """The resolvable difference of a block.

    Attributes:
        value: In units of the metric, above 0; NaN where nothing is known.
        reason: Why it is missing, or what had to be assumed.
    """

    value: float
    reason: str | None = None


def by_bootstrap(pair: Pair) -> float:
    """True difference that the paired bootstrap finds with 80 % power; NaN where too few resamples exist."""
    usable = usable_draws(pair.draws)
    error = float(usable.std(ddof=1)) if len(usable) > 1 else float("nan")
    return float(ndtri((1 + LEVEL) / 2) * error + ndtri(POWER) * np.hypot(error, np.sqrt(pair.seed_variance)))


def by_resampled_t(pair: Pair) -> float:
    """True difference that the corrected resampled t-test finds with 80 % power; NaN where it cannot be made."""
    k = len(pair.folds)
    if k < MINIMUM_FOLDS or not pair.ratio > 0:
        return float("nan")
    # The sample standard deviation is on average too small by this factor; with three folds it is 0.886.
    bias = np.exp(gammaln(k / 2) - gammaln((k - 1) / 2)) * np.sqrt(2 / (k - 1))
    spread = pair.folds.std(ddof=1) / bias
    noncentrality = nctdtrinc(k - 1, 1 - POWER, stdtrit(k - 1, (1 + LEVEL) / 2))
    return float(noncentrality * np.sqrt(1 / k + pair.ratio) * spread)


def resolvable_difference(pairs: Sequence[Pair], overlapping: bool) -> Resolvable:
    """Median over the pairs of rows of one block and metric.

    Args:
        pairs: The rows that are compared, with values on the same folds.
        overlapping: Whether a patient is tested in several folds (the resampled t-test is then the one of the table).

    Returns:
        The value, with a reason where it is missing or another test than the table's had to stand for it.
    """
    tested = _median([by_resampled_t(pair) for pair in pairs]) if overlapping else float("nan")
    if np.isfinite(tested):
        return Resolvable(tested)
    value = _median([by_bootstrap(pair) for pair in pairs])
    if not np.isfinite(value):
        return Resolvable(float("nan"), NO_PAIR)
    if not overlapping:
        return Resolvable(value)
    few = max(len(pair.folds) for pair in pairs)
    why = too_few_folds(few) if few < MINIMUM_FOLDS else "the size of the training part is not known"
    return Resolvable(value, f"by the paired bootstrap: {why}")


def _median(values: Sequence[float]) -> float:
    """Median of what is known and not zero: rows that predict the same are not two rows."""
    known = [value for value in values if value > ROUNDING]
    return float(np.median(known)) if known else float("nan")
