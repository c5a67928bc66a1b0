"""Bins against the definition written out, in exact arithmetic, and against its stated properties."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pathomix.core.errors import PathomixError
from pathomix.scgpt.binning import TIES, bin_ranges, binned


def exact_range(values: list[int], n_bins: int) -> list[tuple[int, int]]:
    """Lowest and highest bin by rational arithmetic."""
    order = sorted(values)
    edges = []
    for k in range(n_bins - 1):
        place = Fraction(k * (len(order) - 1), n_bins - 2)
        low = int(place)
        high = min(low + 1, len(order) - 1)
        edges.append(order[low] + (place - low) * (order[high] - order[low]))
    reached = [sum(edge <= x for edge in edges) for x in values]
    below = [sum(edge < x for edge in edges) for x in values]
    return [(min(b + 1, r), r) for b, r in zip(below, reached, strict=True)]


# Where n - 1 is prime to 49 no edge but the outer ones is a rounding away from a value.
@given(st.lists(st.integers(1, 30), min_size=1, max_size=120).filter(lambda v: (len(v) - 1) % 7 != 0 or len(v) == 1))
def test_ranges_by_definition(values: list[int]) -> None:
    low, high = bin_ranges(np.array(values, float), 51)
    assert list(zip(low, high, strict=True)) == exact_range(values, 51)


def test_hand_example_of_the_specification() -> None:
    values = np.array([1.0, 1, 1, 2, 5])
    assert binned(values, 51, "mid").tolist() == [13, 13, 13, 37, 50]
    assert binned(values, 51, "low").tolist() == [1, 1, 1, 37, 50]
    assert binned(values, 51, "upper").tolist() == [25, 25, 25, 37, 50]


@pytest.mark.parametrize("ties", TIES)
def test_one_gene_may_have_any_bin(ties: str) -> None:
    uniform = np.array([0.999])
    expected = {"low": 1, "mid": 25, "upper": 50, "random": 1}[ties]
    assert binned(np.array([7.0]), 51, ties, uniform).tolist() == [expected]


@given(st.sets(st.integers(1, 10**6), min_size=2, max_size=200), st.sampled_from([np.log1p, np.sqrt, lambda x: 3 * x]))
def test_increasing_transforms_change_nothing(values: set[int], transform: object) -> None:
    x = np.array(sorted(values), float)
    assert np.array_equal(binned(x, 51, "mid"), binned(transform(x), 51, "mid"))  # type: ignore[operator]


def test_increasing_transforms_change_nothing_with_ties() -> None:
    generator = np.random.default_rng(0)
    for size in generator.integers(5, 400, 200):
        counts = 1.0 + generator.poisson(2, size)
        assert np.array_equal(binned(counts, 51, "mid"), binned(np.log1p(counts), 51, "mid"))


def test_random_bins_are_uniform_over_their_range() -> None:
    generator = np.random.default_rng(0)
    values = np.array([1.0, 1, 1, 2, 5])
    draws = np.array([binned(values, 51, "random", generator.random(5)) for _ in range(5000)])
    assert (draws[:, 3] == 37).all()
    for column in (0, 1, 2):
        counts = np.bincount(draws[:, column], minlength=51)
        assert counts[0] == 0 and counts[26:].sum() == 0
        # 25 classes of 200: chi-squared of 24 degrees of freedom stays below 52 with probability 0.999.
        assert ((counts[1:26] - 200.0) ** 2 / 200).sum() < 52


@pytest.mark.parametrize("uniform", [0.0, 0.5, 1 - 2.0**-53])
def test_random_bins_stay_in_their_range(uniform: float) -> None:
    values: NDArray[np.float64] = np.repeat([1.0, 2.0, 3.0], [40, 7, 1])
    low, high = bin_ranges(values, 51)
    drawn = binned(values, 51, "random", np.full(48, uniform))
    assert (low <= drawn).all() and (drawn <= high).all()


def test_unknown_tie_mode_is_refused() -> None:
    with pytest.raises(PathomixError, match="ties is 'high'"):
        binned(np.ones(2), 51, "high")
