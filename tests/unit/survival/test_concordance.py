from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lifelines.utils import concordance_index

from pathomix.core.errors import PathomixError
from pathomix.survival.concordance import harrell, harrell_c


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 6), st.booleans(), st.integers(-3, 3)), min_size=2, max_size=40))
def test_equals_lifelines_with_ties_in_time_and_risk(rows: list[tuple[int, bool, int]]) -> None:
    time, event, risk = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    ours = harrell(time, event, risk)
    if ours.comparable == 0:
        assert np.isnan(ours.index)
        with pytest.raises(ZeroDivisionError):
            concordance_index(time, -risk, event)
    else:
        assert ours.index == pytest.approx(concordance_index(time, -risk, event), abs=1e-12)


def test_counts_of_a_case_done_by_hand() -> None:
    # Event at 1 (risk 3) against 2, 2, 3; event at 2 (risk 1) against the censored 2 (tied risk) and 3.
    result = harrell([1, 2, 2, 3], [1, 1, 0, 0], [3, 1, 1, 2])
    assert (result.concordant, result.discordant, result.tied_risk) == (3, 1, 1)
    assert result.index == pytest.approx(3.5 / 5)


def test_same_counts_when_the_pairs_are_walked_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    time, event, risk = generator.integers(1, 30, 200), generator.integers(0, 2, 200), generator.normal(size=200)
    whole = harrell(time, event, risk)
    monkeypatch.setattr("pathomix.survival.concordance._CELLS", 1000)
    assert harrell(time, event, risk) == whole


@pytest.mark.parametrize(
    ("time", "event", "risk", "fact"),
    [
        ([1, 2], [1, 0], [np.nan, 1], "risk is not finite"),
        ([1, np.nan], [1, 0], [0, 1], "time is not finite"),
        ([1, 2], [1, 2], [0, 1], "event is not 0/1"),
        ([1, 2], [1, 0], [0], "1 risks but 2 times"),
    ],
)
def test_bad_input_is_refused(time: list[float], event: list[float], risk: list[float], fact: str) -> None:
    with pytest.raises(PathomixError, match=fact):
        harrell_c(time, event, risk)
