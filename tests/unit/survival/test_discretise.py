from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pathomix.core.errors import PathomixError
from pathomix.survival.discretise import OUTSIDE, BinStyle, bin_labels, clamped_labels, survival_bins


def test_edges_by_hand() -> None:
    time, event = [1.0, 2.0, 3.0, 4.0, 5.0, 9.0], [1, 1, 1, 1, 1, 0]
    assert survival_bins(time, event, 4) == pytest.approx([1 - 1e-6, 2, 3, 4, 9 + 1e-6])
    assert survival_bins(time, event, 2, "mmp") == pytest.approx([-1e-6, 3, 1e6])


def test_which_side_of_an_edge_belongs_to_which_interval() -> None:
    edges = [0.0, 2.0, 5.0]
    assert bin_labels([0.0, 2.0, 4.9, 5.0, -1.0], edges, "mcat").tolist() == [0, 1, 1, OUTSIDE, OUTSIDE]
    assert bin_labels([0.0, 2.0, 4.9, 5.0, 6.0], edges, "mmp").tolist() == [OUTSIDE, 0, 1, 1, OUTSIDE]
    assert clamped_labels([-1.0, 2.0, 99.0], edges).tolist() == [0, 1, 1]


@pytest.mark.parametrize("style", ["mcat", "mmp"])
@settings(max_examples=60, deadline=None)
@given(times=st.lists(st.floats(0.01, 300), min_size=8, max_size=60, unique=True), bins=st.integers(2, 4))
def test_every_training_patient_has_a_bin_and_events_fill_all(style: BinStyle, times: list[float], bins: int) -> None:
    event = np.arange(len(times)) % 2
    try:
        edges = survival_bins(times, event, bins, style)
    except PathomixError:
        return  # quantiles that coincide
    labels = bin_labels(times, edges, style)
    assert (labels != OUTSIDE).all()
    counts = np.bincount(labels[event == 1], minlength=bins)
    assert counts.max() - counts.min() <= 2


def test_an_edge_on_a_patient_rounds_as_in_pandas() -> None:
    """Fractions such as 1/3 are where a quantile and a percentile differ in the last bit, and a label with it."""
    generator = np.random.default_rng(0)
    for _ in range(300):
        months, bins = generator.integers(1, 4000, 25) / 30.4375, int(generator.choice([3, 6]))
        edges = pd.Series(months).quantile(np.linspace(0, 1, bins + 1)).to_numpy()
        assert survival_bins(months, np.ones(25), bins)[1:-1].tolist() == edges[1:-1].tolist()


@settings(max_examples=60, deadline=None)
@given(times=st.lists(st.integers(1, 4000), min_size=12, max_size=60, unique=True), bins=st.integers(2, 7))
def test_equals_pandas_where_edges_fall_on_patients(times: list[int], bins: int) -> None:
    months = np.array(times) / 30.4375
    event = np.arange(len(times)) % 3 != 0
    edges = pd.qcut(months[event], bins, retbins=True, labels=False)[1]
    edges[0], edges[-1] = months.min() - 1e-6, months.max() + 1e-6
    expected = pd.cut(months, edges, right=False, labels=False)
    assert bin_labels(months, survival_bins(months, event, bins)).tolist() == expected.tolist()


def test_what_cannot_be_cut_is_said() -> None:
    with pytest.raises(PathomixError, match="no event"):
        survival_bins([1, 2], [0, 0], 2)
    with pytest.raises(PathomixError, match="2 events do not fill 4 time bins"):
        survival_bins([5, 5, 7], [1, 1, 0], 4)
    with pytest.raises(PathomixError, match="1 time bins"):
        survival_bins([5, 6, 7], [1, 1, 0], 1)
