"""Patient bootstrap: every resample of a cohort at once.

The patients of a cohort are drawn with replacement, once for all folds: a patient tested in three folds is in all three
resampled test parts as often as drawn. The draws depend on the cohort, the scheme, the task and the seed alone, so all
methods of a study meet the same resamples (differences between methods are then paired).
"""

from __future__ import annotations

import hashlib
import warnings

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
# Differences of equal scores are rounding, not spread.
ROUNDING = 1e-12


def patient_counts(patients: int, resamples: int, seed: int, *place: str) -> NDArray[np.float32]:
    """How often each patient is drawn: [resamples, patients], each row summing to `patients`.

    Args:
        patients: Distinct test patients of the cohort.
        resamples: Number of resamples.
        seed: Seed of the evaluation.
        place: Cohort, scheme and task: adding a cohort leaves the draws of the others alone.
    """
    digest = hashlib.sha256("/".join(place).encode()).digest()
    generator = np.random.default_rng([seed, int.from_bytes(digest[:8], "big")])
    return generator.multinomial(patients, np.full(patients, 1 / patients), size=resamples).astype(np.float32)


def fold_mean(folds: list[list[NDArray[np.float64]]]) -> NDArray[np.float64]:
    """Per resample the mean over folds of the mean over seeds.

    Args:
        folds: Per fold, per seed, the resampled statistic [resamples]; NaN where the resample cannot carry it (it lost
            a class, or every event), and such a fold is left out of that resample's mean.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # all-NaN columns stay NaN, as they should
        return np.asarray(np.nanmean([np.nanmean(seeds, axis=0) for seeds in folds], axis=0))


def usable_draws(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The resamples that exist; none when they are fewer than half."""
    usable = values[np.isfinite(values)]
    return usable if 2 * len(usable) >= len(values) else usable[:0]


def percentile_interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """Central 95 % percentile interval of the resamples that exist; NaN when fewer than half of them do."""
    usable = usable_draws(values)
    if not len(usable):
        return float("nan"), float("nan")
    lower, upper = np.quantile(usable, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(lower), float(upper)


def two_sided_p(differences: NDArray[np.float64]) -> float:
    """Two-sided p-value of the paired bootstrap: the level at which the percentile interval just reaches 0.

    Twice the share of resamples on the rarer side of 0, the observed cohort counted among them, so that it is never 0
    (Davison and Hinkley, Bootstrap Methods and their Application, 1997, chapter 4); a difference of exactly 0 is on
    both sides.

    Args:
        differences: [resamples]; NaN when fewer than half of them exist.
    """
    usable = usable_draws(differences)
    if not len(usable):
        return float("nan")
    rarer = min(np.count_nonzero(usable <= ROUNDING), np.count_nonzero(usable >= -ROUNDING))
    return min(1.0, 2 * (1 + int(rarer)) / (1 + len(usable)))
