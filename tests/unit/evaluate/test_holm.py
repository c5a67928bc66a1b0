from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pathomix.evaluate.holm import holm

P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=6)


def closed_testing(p_values) -> list[float]:
    """Every set of hypotheses tested by Bonferroni; one is as significant as the least significant set it is in."""
    m = len(p_values)
    sets = [chosen for size in range(1, m + 1) for chosen in combinations(range(m), size)]
    bonferroni = {chosen: min(1.0, len(chosen) * min(p_values[i] for i in chosen)) for chosen in sets}
    return [max(p for chosen, p in bonferroni.items() if i in chosen) for i in range(m)]


def test_the_textbook_example():
    # p (m - i + 1), never falling: 0.01 * 4, 0.02 * 3, 0.03 * 2 -> 0.06, 0.04 -> 0.06.
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])


@given(P_VALUES)
def test_it_is_the_closed_test_of_bonferroni(p_values):
    assert holm(p_values) == pytest.approx(closed_testing(p_values), abs=1e-12)


@given(P_VALUES, st.integers(0, 6))
def test_what_was_not_tested_stays_missing_and_does_not_count(p_values, place):
    place = min(place, len(p_values))
    found = holm([*p_values[:place], np.nan, *p_values[place:]])
    assert np.isnan(found[place])
    assert np.delete(found, place) == pytest.approx(holm(p_values))


def test_nothing_tested_gives_nothing():
    assert holm([]).shape == (0,) and np.isnan(holm([np.nan, np.nan])).all()
