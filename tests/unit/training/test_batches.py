from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pathomix.training.batches import batches, stratified_folds


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 150), st.integers(1, 40), st.integers(0, 100))
def test_every_patient_at_most_once_and_few_left_out(patients: int, size: int, seed: int) -> None:
    strata = np.random.default_rng(seed).integers(0, 3, patients)
    drawn = list(batches(strata, size, np.random.default_rng(seed)))
    rows = np.concatenate(drawn)
    assert len(set(rows.tolist())) == len(rows)
    assert all(len(batch) <= size for batch in drawn)
    assert patients - len(rows) < min(8, size)  # only a last, short batch may be missing


def test_events_are_spread_over_the_batches() -> None:
    strata = np.array([1] * 10 + [0] * 90)
    for seed in range(20):
        counts = [int(strata[b].sum()) for b in batches(strata, 20, np.random.default_rng(seed))]
        assert min(counts) >= 1
        assert max(counts) <= 3


def test_folds_hold_each_stratum_evenly() -> None:
    strata = np.array([0] * 17 + [1] * 6 + [2] * 3)
    folds = stratified_folds(strata, 4, np.random.default_rng(0))
    for stratum, count in ((0, 17), (1, 6), (2, 3)):
        sizes = np.bincount(folds[strata == stratum], minlength=4)
        assert sizes.max() - sizes.min() <= 1
        assert sizes.sum() == count
    assert np.ptp(np.bincount(folds)) <= 1
