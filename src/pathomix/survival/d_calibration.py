"""D-calibration of survival probabilities (Haider et al. 2020)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import chdtrc

from pathomix.core.errors import PathomixError

Floats = NDArray[np.float64]
BINS = 10


@dataclass(frozen=True)
class DCalibration:
    """Goodness of fit of the predicted survival at the patients' own times to the uniform distribution.

    Attributes:
        counts: [bins], patients per interval of the probability, [0, 1/bins) first.
        statistic: Pearson's chi-square against equal counts.
        degrees: Of freedom, bins - 1.
        p: Of the statistic; small = not calibrated.
    """

    counts: Floats
    statistic: float
    degrees: int
    p: float


def bin_shares(survival: ArrayLike, event: ArrayLike, bins: int = BINS) -> Floats:
    """Share of each patient in each interval of the probability, [n, bins], rows summing to 1.

    An event is in the interval of its probability s. A censored patient is known to end below s: he is spread evenly
    over [0, s], and where s is 0 he is in the first interval.

    Args:
        survival: [n], predicted survival at each patient's own time, 0 to 1.
        event: [n], 1 = happened.
        bins: Number of intervals.

    Raises:
        PathomixError: A probability is not between 0 and 1.
    """
    alive, events = np.asarray(survival, dtype=np.float64), np.asarray(event, dtype=bool)
    bad = np.flatnonzero(~((alive >= 0) & (alive <= 1)))
    if len(bad):
        raise PathomixError(
            "survival is not a probability at rows", offending=bad.tolist(), remedy="leave these patients out before"
        )
    edges = np.linspace(0.0, 1.0, bins + 1)
    inside = np.clip(np.searchsorted(edges, alive, side="right") - 1, 0, bins - 1)
    exact = np.zeros((len(alive), bins))
    exact[np.arange(len(alive)), inside] = 1.0
    reached = np.clip(alive[:, None] - edges[:-1], 0.0, 1.0 / bins)
    spread = np.divide(reached, alive[:, None], out=exact.copy(), where=alive[:, None] > 0)
    return np.where(events[:, None], exact, spread)


def d_calibration(survival: ArrayLike, event: ArrayLike, bins: int = BINS) -> DCalibration:
    """Test whether the predicted survival at the patients' own times is uniform; see `bin_shares`.

    Raises:
        PathomixError: No patient, or a probability is not between 0 and 1.
    """
    shares = bin_shares(survival, event, bins)
    if not len(shares):
        raise PathomixError("no patient to test the calibration on", remedy="pass at least one")
    counts = shares.sum(axis=0)
    expected = len(shares) / bins
    statistic = float(((counts - expected) ** 2).sum() / expected)
    return DCalibration(counts, statistic, bins - 1, float(chdtrc(bins - 1, statistic)))
