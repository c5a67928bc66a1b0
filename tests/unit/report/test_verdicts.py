"""Verdicts at their boundaries."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pathomix.report.verdicts import NOT_REPRODUCED, NOT_RUN, REPRODUCED, VERDICTS, WITHIN_NOISE, Ours, judge

NAN = float("nan")
OURS = Ours(0.80, 0.76, 0.84)


@pytest.mark.parametrize(
    ("published", "spread", "word"),
    [
        (0.80, NAN, REPRODUCED),
        (0.82, NAN, REPRODUCED),  # exactly a quarter of the interval's width away
        (0.78, NAN, REPRODUCED),
        (0.821, NAN, WITHIN_NOISE),
        (0.84, NAN, WITHIN_NOISE),  # on the limit of the interval
        (0.76, 0.0, WITHIN_NOISE),
        (0.841, NAN, NOT_REPRODUCED),
        (0.86, 0.02, WITHIN_NOISE),  # its ± just touches the interval
        (0.86, 0.019, NOT_REPRODUCED),
        (0.74, 0.02, WITHIN_NOISE),
        (0.739, 0.02, NOT_REPRODUCED),
    ],
)
def test_boundaries(published, spread, word):
    assert judge(published, spread, OURS).word == word


def test_a_skewed_interval_must_still_hold_the_published_value():
    # No further than a quarter of the width, and yet outside: not reproduced.
    assert judge(0.77, NAN, Ours(0.80, 0.78, 0.90)).word == NOT_REPRODUCED


def test_direction_and_missing_values_are_told():
    assert judge(0.9, NAN, OURS).reason == "ours is lower" and judge(0.5, NAN, OURS).reason == "ours is higher"
    assert judge(0.8, NAN, Ours(NAN, NAN, NAN)) == (NOT_RUN, "no value could be computed")
    assert judge(0.8, NAN, Ours(0.8, NAN, NAN)).word == NOT_RUN
    assert judge(0.8, NAN, Ours(0.8, 0.7, NAN)).reason


value = st.floats(0, 1)


@given(value, st.one_of(st.just(NAN), st.floats(0, 0.2)), value, st.floats(0, 0.3), st.floats(0, 0.3))
def test_every_value_has_one_verdict_that_a_wider_spread_never_worsens(published, spread, mean, below, above):
    ours = Ours(mean, mean - below, mean + above)
    verdict = judge(published, spread, ours)
    rank = VERDICTS.index(verdict.word)
    assert rank < 3 and (verdict.word == NOT_REPRODUCED) == bool(verdict.reason)
    wider = 0.01 + (0 if math.isnan(spread) else spread)
    assert VERDICTS.index(judge(published, wider, ours).word) <= rank
