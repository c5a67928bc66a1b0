from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pathomix.training.batches import batches, event_batches, stratified_folds


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


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 120), st.integers(2, 40), st.integers(1, 4), st.floats(0, 1), st.integers(0, 100))
def test_every_batch_has_its_events(patients: int, size: int, least: int, share: float, seed: int) -> None:
    event = (np.random.default_rng(seed).random(patients) < share).astype(np.int64)
    for rows in event_batches(event, size, min(least, size), np.random.default_rng(seed)):
        assert len(set(rows.tolist())) == len(rows) <= max(size, least)
        assert event[rows].sum() >= min(least, size, len(rows), event.sum())


def test_events_are_repeated_only_where_they_lack() -> None:
    event = np.array([1] * 3 + [0] * 57, dtype=np.int64)
    drawn = list(event_batches(event, 20, 2, np.random.default_rng(0)))
    assert [int(event[rows].sum()) for rows in drawn] == [2, 2, 2]
    assert [len(rows) for rows in drawn] == [20, 20, 20]
    plenty = np.array([1, 0] * 30, dtype=np.int64)
    for seed in range(5):
        guarded = list(event_batches(plenty, 20, 2, np.random.default_rng(seed)))
        assert all(
            np.array_equal(a, b) for a, b in zip(guarded, batches(plenty, 20, np.random.default_rng(seed)), strict=True)
        )


def test_folds_hold_each_stratum_evenly() -> None:
    strata = np.array([0] * 17 + [1] * 6 + [2] * 3)
    folds = stratified_folds(strata, 4, np.random.default_rng(0))
    for stratum, count in ((0, 17), (1, 6), (2, 3)):
        sizes = np.bincount(folds[strata == stratum], minlength=4)
        assert sizes.max() - sizes.min() <= 1
        assert sizes.sum() == count
    assert np.ptp(np.bincount(folds)) <= 1
