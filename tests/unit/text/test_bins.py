from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pathomix.core.errors import PathomixError
from pathomix.text.bins import SurvivalBins, survival_bins, survival_sentence
from pathomix.text.parameters import TextParameters

RELEASED = TextParameters(profile="released").rules
RECOMMENDED = TextParameters().rules


def outcome(times: list[float], events: list[int]) -> pd.DataFrame:
    return pd.DataFrame(
        {"time": times, "event": pd.array(events, dtype="Int8")}, index=[f"p{i}" for i in range(len(times))]
    )


def test_released_edges_are_quantiles_of_everyone() -> None:
    data = outcome([0.4, 10.2, 20.9, 31.0, 77.7, np.nan], [0, 1, 0, 0, 1, 1])
    found = survival_bins(data, data.index[:2], 4, RELEASED, "x")
    assert found is not None
    np.testing.assert_allclose(found.edges, [0.4, 10.2, 20.9, 31.0, 77.7])
    assert [found.label(t) for t in (0.4, 10.2, 31.0, 77.7, 0.0, 100.0)] == [0, 1, 3, 3, 0, 3]


def test_recommended_edges_are_whole_months_of_training_events() -> None:
    data = outcome([4.0, 8.2, 12.7, 16.0, 20.4, 90.0, 1.0], [1, 1, 1, 1, 1, 0, 1])
    found = survival_bins(data, data.index[:6], 4, RECOMMENDED, "x")
    assert found == SurvivalBins((0.0, 8.0, 13.0, 16.0, float("inf")))


@given(st.lists(st.floats(0.1, 300), min_size=12, max_size=60, unique=True), st.integers(2, 5))
def test_recommended_sentences_are_true(times: list[float], bins: int) -> None:
    data = outcome(times, [1] * len(times))
    try:
        found = survival_bins(data, data.index, bins, RECOMMENDED, "x")
    except PathomixError:
        return
    assert found is not None
    for time in times:
        start, end = found.edges[found.label(time)], found.edges[found.label(time) + 1]
        assert start <= time < end and start == int(start)


@pytest.mark.parametrize(
    ("times", "events", "bins", "fact"),
    [
        ([1.0, 2.0, 3.0], [0, 0, 0], 2, "x: no event to make"),
        ([5.0] * 10, [1] * 10, 4, "do not fill 4 survival intervals"),
        ([1.1, 1.2, 1.3, 1.4, 9.0], [1] * 5, 4, "not whole months apart"),
        ([0.1, 0.2, 8.0, 16.0, 24.0], [1] * 5, 4, "not whole months apart"),
    ],
)
def test_too_few_events(times: list[float], events: list[int], bins: int, fact: str) -> None:
    data = outcome(times, events)
    with pytest.raises(PathomixError, match=fact):
        survival_bins(data, data.index, bins, RECOMMENDED, "x")


def test_a_cohort_without_outcomes_has_no_bins_but_a_fold_whose_training_part_lacks_them_is_an_error() -> None:
    none = pd.DataFrame({"time": [np.nan] * 2, "event": pd.array([None, None], dtype="Int8")}, index=["a", "b"])
    assert survival_bins(none, none.index, 4, RECOMMENDED, "x") is None
    data = outcome([3.0, 5.0], [1, 1])
    with pytest.raises(PathomixError, match="no event"):
        survival_bins(data, pd.Index(["other"]), 4, RECOMMENDED, "x")


def test_sentences(wording) -> None:
    bins, words = SurvivalBins((0.0, 8.0, 13.0, 16.0, float("inf"))), wording.endpoint("OS")

    def said(time: float, event: int, rule: str, edges: SurvivalBins = bins) -> str:
        return survival_sentence(time, event, edges, words, wording.survival, rule)

    assert said(3, 1, "alive_beyond") == "patient died before 8 months"
    assert said(8, 1, "alive_beyond") == "patient died between 8 and 13 months"
    assert said(99, 1, "alive_beyond") == "patient died after 16 months"
    assert said(3, 0, "alive_beyond") == "patient alive when last seen before 8 months"
    assert said(8, 0, "alive_beyond") == "patient alive beyond 8 months"
    assert said(99, 0, "alive_beyond") == "patient alive beyond 16 months"
    closed = SurvivalBins((0.4, 10.2, 20.6, 31.0, 77.7))
    assert said(5, 0, "as_event", closed) == "patient was censored before 10 months"
    assert said(12, 0, "as_event", closed) == "patient was censored between 10 and 21 months"
    assert said(77.7, 0, "as_event", closed) == "patient was censored between 31 and 78 months"
    with pytest.raises(PathomixError, match="no words for the endpoint 'OSS'"):
        wording.endpoint("OSS")
