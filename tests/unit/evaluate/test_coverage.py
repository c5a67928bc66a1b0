"""Whether the printed intervals cover the truth; the whole table is `python -m benchmarks.coverage`."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.coverage import DESIGNS, covered, outcomes, planted, simulator, true_c
from pathomix.survival.concordance import harrell_c


@pytest.mark.parametrize(("correlation", "censoring"), [(0.0, 1.0), (0.5, 1.0), (0.95, 4.0)])
def test_the_truth_is_what_large_cohorts_show(correlation, censoring):
    generator = np.random.default_rng(2)
    found = []
    for _ in range(10):
        log_hazard, time, event = outcomes(2000, censoring, generator)
        risk = correlation * log_hazard + np.sqrt(1 - correlation**2) * generator.normal(size=2000)
        found.append(harrell_c(time, event, risk))
    error = np.std(found, ddof=1) / np.sqrt(len(found))
    assert true_c(correlation, censoring) == pytest.approx(np.mean(found), abs=4 * error)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*DESIGNS, "simulator"])
def test_intervals_cover_the_truth_nineteen_times_of_twenty(name):
    repetition = simulator() if name == "simulator" else lambda number: planted(DESIGNS[name], number)
    inside, _, _ = covered(repetition, 80, resamples=400)
    # 0.95 less two and a half standard errors of a share of 80.
    assert inside / 80 >= 0.89
