"""Pairs under resampling against replicated patients, and what a concordance has to satisfy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pathomix.core.errors import PathomixError
from pathomix.survival.censoring import Censoring
from pathomix.survival.concordance import harrell_c
from pathomix.survival.pairs import harrell_pairs, uno_c, uno_pairs

samples = st.lists(
    st.tuples(st.integers(1, 8), st.booleans(), st.integers(-4, 4), st.integers(0, 3)), min_size=3, max_size=25
).map(lambda rows: tuple(np.array(column, dtype=float) for column in zip(*rows, strict=True)))
# G > 0 up to 9: the longest follow-up ends with an event.
TRAINED = Censoring.of([1, 2, 2, 3, 4, 5, 6, 7, 9], [1, 0, 1, 0, 1, 1, 0, 1, 1])
KINDS = {
    "harrell": lambda time, event, risk: harrell_pairs(time, event, risk),
    "uno": lambda time, event, risk: uno_pairs(time, event, risk, TRAINED, 7.0),
}


def index(kind: str, time: np.ndarray, event: np.ndarray, risk: np.ndarray) -> float:
    return float(KINDS[kind](time, event, risk).index(np.ones((1, len(time)), dtype=np.float32))[0])


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=80, deadline=None)
@given(samples)
def test_bounds_sign_and_invariance_under_monotone_transforms(kind: str, sample: tuple[np.ndarray, ...]) -> None:
    time, event, risk, _ = sample
    c = index(kind, time, event, risk)
    if np.isnan(c):
        assert not KINDS[kind](time, event, risk).comparable.any()
        return
    assert 0 <= c <= 1
    assert index(kind, time, event, -risk) == pytest.approx(1 - c, abs=1e-12)
    assert index(kind, time, event, np.exp(risk / 2) - 7) == c
    assert index(kind, time, event, risk**3) == c
    assert index(kind, time, event, np.zeros(len(time))) == 0.5


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=80, deadline=None)
@given(samples)
def test_resamples_equal_replicated_patients(kind: str, sample: tuple[np.ndarray, ...]) -> None:
    time, event, risk, counts = sample
    times = counts.astype(int)
    drawn = float(KINDS[kind](time, event, risk).index(counts[None].astype(np.float32))[0])
    again = index(kind, *(np.repeat(column, times) for column in (time, event, risk))) if times.any() else np.nan
    assert drawn == pytest.approx(again, abs=1e-12, nan_ok=True)


@settings(max_examples=40, deadline=None)
@given(samples)
def test_harrells_pairs_give_harrells_c(sample: tuple[np.ndarray, ...]) -> None:
    time, event, risk, _ = sample
    assert index("harrell", time, event, risk) == pytest.approx(harrell_c(time, event, risk), abs=1e-12, nan_ok=True)


def test_without_censoring_in_training_unos_c_is_harrells_up_to_the_end() -> None:
    generator = np.random.default_rng(0)
    time, event = generator.integers(1, 20, 60).astype(float), generator.integers(0, 2, 60)
    risk = generator.normal(size=60)
    everybody = Censoring.of(np.arange(1, 25), np.ones(24))
    assert uno_c(time, event, risk, everybody) == pytest.approx(harrell_c(time, event, risk), abs=1e-12)
    truncated = np.where(time >= 10, 10.0, time), np.where(time >= 10, 0, event)
    assert uno_c(time, event, risk, everybody, 10.0) == pytest.approx(harrell_c(*truncated, risk), abs=1e-12)


def test_an_event_beyond_the_training_part_is_refused_unless_truncated() -> None:
    with pytest.raises(PathomixError, match=r"12\.0 lies beyond"):
        uno_c([1, 12, 13], [1, 1, 0], [3, 2, 1], TRAINED)
    assert uno_c([1, 12, 13], [1, 1, 0], [3, 2, 1], TRAINED, 9.0) == 1.0
