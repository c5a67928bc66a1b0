"""The solver against all assignments of tiny problems."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pathomix.cohort.site_solver import Problem, Quantity, assign_sites, cost
from pathomix.core.errors import PathomixError


def even(groups):
    return (Fraction(1, groups),) * groups


@st.composite
def problems(draw):
    sites, groups = draw(st.integers(3, 6)), draw(st.integers(2, 3))
    sizes = tuple(draw(st.lists(st.integers(1, 12), min_size=sites, max_size=sites)))
    quantities = tuple(
        Quantity(name, weight, tuple(draw(st.integers(0, n)) for n in sizes))
        for name, weight in (("event", 3), ("class_label=a", 1), ("follow_up=0", 2))
    )
    shares = draw(st.sampled_from([even(groups), (Fraction(1, 5), Fraction(4, 5))]))
    return Problem(sizes, quantities, shares, 1, draw(st.sampled_from([2, 5, 20])), draw(st.sampled_from([100, 400])))


def written_out(problem, groups):
    """The objective and the rules once more, in fractions of patients and one group at a time."""
    total, off, ok = sum(problem.sizes), {}, {"events": True, "size": True}
    for g, share in enumerate(problem.shares):
        mine = [s for s, at in enumerate(groups) if at == g]
        size = sum(problem.sizes[s] for s in mine)
        over = Fraction(size) - share * total
        off.setdefault(("size", problem.size_weight), []).append(int(abs(over)))
        ok["size"] &= abs(over) <= Fraction(problem.size_permille, 1000) * share * total
        for q in problem.quantities:
            held, rate = sum(q.counts[s] for s in mine), Fraction(sum(q.counts), total)
            off.setdefault((q.name, q.weight), []).append(int(abs(held - rate * size)))
            if q.name == "event" and sum(q.counts):
                near = size > 0 and abs(Fraction(held, size) - rate) <= Fraction(problem.event_points, 100)
                ok["events"] &= near and held > 0
    objective = sum(weight * (sum(d) + len(d) * max(d)) for (_, weight), d in off.items())
    return objective, ok


def best(problem, rules):
    """Smallest objective over all assignments that keep the rules, None where none does."""
    number = len(problem.shares)
    found = []
    for groups in product(range(number), repeat=len(problem.sizes)):
        if len(set(groups)) == number:
            objective, ok = written_out(problem, groups)
            if all(ok[rule] for rule in rules):
                found.append(objective)
    return min(found, default=None)


@settings(max_examples=40, deadline=None)
@given(problems())
def test_optimum_equals_the_best_of_all_assignments(problem):
    found = assign_sites(problem, effort=5, seed=0)
    assert set(found.groups) == set(range(len(problem.shares)))
    objective, ok = written_out(problem, found.groups)
    assert found.status == "OPTIMAL" and found.objective == found.bound == objective == cost(problem, found.groups)
    assert all(ok[rule] for rule in found.kept) and objective == best(problem, found.kept)
    # A rule is given up exactly where no assignment keeps it, together with the ones that come before it.
    rules = problem.rules
    first = next(kept for kept in (rules, rules[:1], rules[1:], ()) if best(problem, kept) is not None)
    assert found.kept == first and set(found.given_up) == set(rules) - set(first) and all(found.given_up.values())


@settings(max_examples=10, deadline=None)
@given(problems(), st.integers(0, 9))
def test_neither_seed_nor_run_changes_the_optimum(problem, seed):
    one, again = (assign_sites(problem, effort=5, seed=seed) for _ in range(2))
    assert one == again and one.objective == assign_sites(problem, effort=5, seed=0).objective


def test_equal_groups_are_opened_in_turn_and_equal_sites_in_order():
    problem = Problem((9, 5, 5, 5, 5), (Quantity("event", 3, (3, 2, 2, 2, 2)),), even(3), 1, 20, 500)
    groups = assign_sites(problem, effort=5, seed=0).groups
    assert groups[0] == 0 and list(groups[1:]) == sorted(groups[1:])


def test_a_site_larger_than_a_fold_is_legal_and_the_rule_on_size_is_given_up_with_proof():
    problem = Problem((80, 5, 5, 5, 5), (Quantity("event", 3, (16, 1, 1, 1, 1)),), even(5), 1, 5, 250)
    found = assign_sites(problem, effort=5, seed=0)
    assert found.kept == ("events",) and found.given_up == {"size": True}


def test_events_at_one_site_only():
    problem = Problem((10, 10, 10), (Quantity("event", 3, (5, 0, 0)),), even(3), 1, 5, 250)
    found = assign_sites(problem, effort=5, seed=0)
    assert found.kept == ("size",) and found.given_up == {"events": True}
    nobody = replace(problem, quantities=(Quantity("event", 3, (0, 0, 0)),))
    assert assign_sites(nobody, effort=5, seed=0).kept == ("size",)


def test_every_group_has_an_event_even_where_none_is_within_the_points():
    # The class is even with the two sites that have events together; one event each costs that.
    quantities = (Quantity("event", 3, (1, 1, 0, 0)), Quantity("class_label=a", 10, (8, 0, 6, 2)))
    problem = Problem((10, 10, 10, 10), quantities, even(2), 1, 5, 250)
    groups = assign_sites(problem, effort=5, seed=0).groups
    assert groups == (0, 1, 1, 0) and cost(problem, groups) > cost(problem, (0, 0, 1, 1))


def test_a_gap_is_stated_where_the_effort_ends_first():
    sizes = tuple(3 + (7 * k) % 23 for k in range(30))
    quantities = tuple(Quantity(name, 1, tuple((m * n) // 7 + n % 2 for n in sizes)) for m, name in enumerate("abcd"))
    found = assign_sites(Problem(sizes, quantities, even(5), 1, 5, 250), effort=0.3, seed=0)
    report = found.report()
    assert report["status"] == "FEASIBLE" and 0 <= report["bound"] < report["objective"]
    assert report["gap"] == report["objective"] - report["bound"] and 0 < report["gap_percent"] <= 100


def test_problems_that_cannot_be_solved():
    problem = Problem((3, 4), (), even(3), 1, 5, 250)
    with pytest.raises(PathomixError, match="2 sites cannot fill 3 groups"):
        assign_sites(problem, effort=1, seed=0)
    with pytest.raises(PathomixError, match="within an effort of 1e-09; raise `effort`"):
        assign_sites(Problem((3,) * 40, (), even(5), 1, 5, 250), effort=1e-9, seed=0)
