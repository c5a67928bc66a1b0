from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pathomix.atlas.parts import _EXHAUSTIVE, draws, held_out_cells, held_out_groups, lowest


def lacking(mask: np.ndarray, table: np.ndarray) -> tuple[int, int]:
    """Classes without training cells, classes without valid cells."""
    valid = table[mask].sum(axis=0)
    return int((valid == table.sum(axis=0)).sum()), int((valid == 0).sum())


def test_a_draw_depends_on_its_own_name_alone() -> None:
    names = [f"c{i}" for i in range(50)]
    found = dict(zip(names, draws(3, "sample", names), strict=True))
    assert found == dict(zip(names[::-1], draws(3, "sample", names[::-1]), strict=True))
    assert len(set(found.values())) == 50
    assert (draws(4, "sample", names) != draws(3, "sample", names)).all()
    assert (draws(3, "parts", names) != draws(3, "sample", names)).all()


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(1, 9))
def test_lowest_takes_the_same_cells_in_any_order(codes: list[int], take: int) -> None:
    names = [f"c{i}" for i in range(len(codes))]
    numbers, array = draws(0, "x", names), np.array(codes)
    found = lowest(numbers, array, np.full(4, take))
    np.testing.assert_array_equal(
        np.bincount(array[found], minlength=4), np.minimum(np.bincount(array, minlength=4), take)
    )
    np.testing.assert_array_equal(lowest(numbers[::-1], array[::-1], np.full(4, take)), found[::-1])
    for code in range(4):
        inside = array == code
        if found[inside].any() and not found[inside].all():
            assert numbers[inside & found].max() < numbers[inside & ~found].min()


def test_cells_are_held_out_within_each_class() -> None:
    codes = np.repeat([0, 1, 2], [100, 2, 10])
    found = held_out_cells(draws(0, "x", map(str, range(112))), codes, 0.2)
    assert [int(found[codes == c].sum()) for c in range(3)] == [20, 1, 2]


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 7), st.integers(2, 4), st.integers(0, 10**6))
def test_no_other_choice_of_donors_leaves_fewer_classes_out(donors: int, classes: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    table = random.integers(1, 30, (donors, classes)) * (random.random((donors, classes)) < 0.5)
    table[0] += table.sum(axis=0) == 0
    every = [np.array(m) for m in itertools.product([False, True], repeat=donors)]
    assert lacking(held_out_groups(table, 0.2, 0), table) == min(lacking(mask, table) for mask in every)


def test_share_is_near_what_was_asked_for() -> None:
    table = np.random.default_rng(0).poisson(200, (10, 4))
    valid = held_out_groups(table, 0.2, 0)
    assert valid.sum() == 2 and abs(table[valid].sum() / table.sum() - 0.2) < 0.02


def test_many_donors_are_searched_and_the_search_repeats_itself() -> None:
    random = np.random.default_rng(5)
    table = random.poisson(40, (60, 8)) * (random.random((60, 8)) < 0.08)
    table[:2] += 1
    assert len(table) > _EXHAUSTIVE
    first = held_out_groups(table, 0.2, 0)
    assert lacking(first, table) == (0, 0)
    assert abs(table[first].sum() / table.sum() - 0.2) < 0.05
    np.testing.assert_array_equal(first, held_out_groups(table, 0.2, 0))


def test_nobody_is_held_out_where_every_donor_has_a_class_of_its_own() -> None:
    assert not held_out_groups(np.diag([30, 20, 10]), 0.2, 0).any()
    assert not held_out_groups(np.array([[5, 5]]), 0.2, 0).any()
