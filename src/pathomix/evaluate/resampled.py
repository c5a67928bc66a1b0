"""Tests between two rows over repeated train/test splits (spec path_gptomic section 9.3).

The test parts of Monte-Carlo splits share patients, and so do their training parts: fold differences are correlated
and an ordinary paired t-test finds too much. The corrected resampled t-test (Nadeau and Bengio 2003) widens the
variance for it; the signed-rank test, which the field prints, does not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtr
from scipy.stats import wilcoxon

from pathomix.evaluate.bootstrap import ROUNDING

NOT_OVERLAPPING = "the test parts of the folds share no patient: these tests are for repeated splits"
MINIMUM_FOLDS = 3


def too_few_folds(folds: int) -> str:
    """Why so few folds are not tested."""
    return f"{folds} {'fold is' if folds == 1 else 'folds are'} too few for a test over folds"


@dataclass(frozen=True)
class ResampledTests:
    """Both tests of one pair of rows.

    Attributes:
        t: Statistic of the corrected resampled t-test, k - 1 degrees of freedom.
        t_p: Its two-sided p-value.
        wilcoxon_p: Two-sided p-value of the paired Wilcoxon signed-rank test over folds.
        ratio: Test patients per training patient, as used by the correction.
        reason: Why a value is missing (NaN), None where none is.
    """

    t: float = float("nan")
    t_p: float = float("nan")
    wilcoxon_p: float = float("nan")
    ratio: float = float("nan")
    reason: str | None = None


def corrected_t(differences: ArrayLike, ratio: float) -> tuple[float, float]:
    """Corrected statistic mean(d) / sqrt((1/k + n_test/n_train) var(d)) and its two-sided p-value (df k - 1).

    Args:
        differences: [k] differences of the fold values, not all equal.
        ratio: n_test / n_train.
    """
    d = np.asarray(differences, dtype=np.float64)
    t = float(d.mean() / np.sqrt((1 / len(d) + ratio) * d.var(ddof=1)))
    return t, float(2 * stdtr(len(d) - 1, -abs(t)))


def signed_rank(differences: ArrayLike) -> float:
    """Two-sided p-value of the Wilcoxon signed-rank test; folds without a difference are dropped.

    The exact distribution where neither zeros nor ties among the sizes of the differences spoil it, else the normal
    approximation without continuity correction.
    """
    d = np.asarray(differences, dtype=np.float64)
    size = np.abs(d)
    exact = bool(size.min() > 0) and len(np.unique(size)) == len(d)
    return float(wilcoxon(d, zero_method="wilcox", correction=False, method="exact" if exact else "approx").pvalue)


def resampled_tests(differences: ArrayLike, n_test: float, n_train: float, overlapping: bool) -> ResampledTests:
    """Both tests, or the reason why there is none.

    Args:
        differences: [k] differences of the fold values of two rows.
        n_test: Mean number of test patients of a fold that both rows are scored on.
        n_train: Mean number of training patients of a fold that both rows predict; 0 where they are not known.
        overlapping: Whether a patient is tested in several folds.
    """
    d = np.asarray(differences, dtype=np.float64)
    if not overlapping:
        return ResampledTests(reason=NOT_OVERLAPPING)
    if len(d) < MINIMUM_FOLDS:
        return ResampledTests(reason=too_few_folds(len(d)))
    if np.ptp(d) < ROUNDING:
        return ResampledTests(reason="the difference is the same in every fold")
    p = signed_rank(d)
    if n_train <= 0:
        reason = "no corrected t-test: without predictions of the training part its size is not known"
        return ResampledTests(wilcoxon_p=p, reason=reason)
    ratio = n_test / n_train
    return ResampledTests(*corrected_t(d, ratio), p, ratio)
