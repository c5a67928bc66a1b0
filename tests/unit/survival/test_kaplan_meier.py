"""Kaplan-Meier curves against lifelines and scikit-survival, and resamples against replicated patients."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lifelines import KaplanMeierFitter
from sksurv.nonparametric import CensoringDistributionEstimator
from sksurv.util import Surv

from pathomix.core.errors import PathomixError
from pathomix.survival.kaplan_meier import censoring_curve, kaplan_meier, resampled_survival

rows = st.lists(st.tuples(st.integers(1, 9), st.booleans()), min_size=2, max_size=40)


@settings(max_examples=60, deadline=None)
@given(rows)
def test_equals_lifelines_with_its_interval(sample: list[tuple[int, bool]]) -> None:
    time, event = (np.array(column, dtype=float) for column in zip(*sample, strict=True))
    ours, theirs = kaplan_meier(time, event), KaplanMeierFitter().fit(time, event)
    when = theirs.survival_function_.index.to_numpy()
    assert ours.at(when) == pytest.approx(theirs.survival_function_.to_numpy()[:, 0], abs=1e-12)
    bounds = theirs.confidence_interval_.to_numpy()
    inside = (ours.at(when) > 0) & (ours.at(when) < 1)
    found = np.array([ours.interval(float(moment)) for moment in when])
    assert found[inside] == pytest.approx(bounds[inside], abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(rows)
def test_censoring_equals_scikit_survival(sample: list[tuple[int, bool]]) -> None:
    time, event = (np.array(column, dtype=float) for column in zip(*sample, strict=True))
    if not event.any():
        event[0] = 1.0
    theirs = CensoringDistributionEstimator().fit(Surv.from_arrays(event.astype(bool), time))
    curve = censoring_curve(time, event)
    when = np.arange(1, int(time.max()) + 1)
    assert curve.at(when) == pytest.approx(theirs.predict_proba(when), abs=1e-12)


def test_at_a_tied_time_the_event_comes_before_the_censoring() -> None:
    # Four patients; at 2 one dies and one is censored.
    time, event = [1, 2, 2, 3], [0, 1, 0, 1]
    assert kaplan_meier(time, event).survival == pytest.approx([1, 2 / 3, 0])
    assert censoring_curve(time, event).survival == pytest.approx([3 / 4, 3 / 8, 3 / 8])


@settings(max_examples=60, deadline=None)
@given(rows, st.integers(0, 2**31))
def test_resamples_equal_replicated_patients(sample: list[tuple[int, bool]], seed: int) -> None:
    time, event = (np.array(column, dtype=float) for column in zip(*sample, strict=True))
    counts = np.random.default_rng(seed).multinomial(len(time), np.full(len(time), 1 / len(time)), size=4)
    when = np.array([0.5, 2.0, 4.5, 7.0])
    found = resampled_survival(time, event, counts.T.astype(np.float32), when)
    for row, drawn in zip(found.T, counts, strict=True):
        assert row == pytest.approx(kaplan_meier(np.repeat(time, drawn), np.repeat(event, drawn)).at(when), abs=1e-12)


def test_before_the_first_and_after_the_last_time() -> None:
    curve = kaplan_meier([2, 3, 5], [1, 0, 0])
    assert curve.at([0, 1.9, 2, 100]) == pytest.approx([1, 1, 2 / 3, 2 / 3])
    assert curve.interval(1.0) == (1.0, 1.0)
    assert curve.last == 5


def test_nobody_is_refused() -> None:
    with pytest.raises(PathomixError, match="no patient"):
        kaplan_meier([], [])
