"""Whole tissue source sites assigned to groups (folds, or train and valid) so that outcomes are balanced, by CP-SAT.

The problem. Site s has n_s patients and, for every quantity q (events, one per class, one per quarter of follow-up),
c_qs of them. Group g is meant to have the share a_g / A of all N patients. With n_g and c_qg the sums over the sites
of group g, in whole patients, fractions not counting:

    d_size,g = floor(|A n_g - a_g N| / A)         patients more or fewer than intended
    d_q,g    = floor(|N c_qg - C_q n_g| / N)      more or fewer than the cohort's share of q would give this group
    minimise  sum over size and q of  w_q (sum over g of d_qg + G max over g of d_qg)

The sum makes the groups good, the maximum keeps one of G groups from paying for the others. Two rules are constraints:
the share of events of every group stays within some percentage points of the cohort's and every group has an event;
every group's size stays within a tolerance. A rule that cannot hold is given up, size first, and the result says
whether the solver has proved it impossible.

One worker, a fixed seed and a limit in deterministic time: the result depends on nothing but the input.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from ortools.sat.python import cp_model

from pathomix.core.errors import PathomixError

Rule = Literal["events", "size"]
EVENT = "event"


@dataclass(frozen=True)
class Quantity:
    """A number of patients per site whose share every group should have.

    Attributes:
        name: ``event``, ``class_label=<name>``, ``follow_up=<quarter>``.
        weight: Cost of one patient too many or too few.
        counts: Patients of every site.
    """

    name: str
    weight: int
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Problem:
    """Sites, what they hold, and the groups to make.

    Attributes:
        sizes: Patients of every site, all positive.
        quantities: What to balance; the one named ``event`` is also under the rule on events.
        shares: Intended share of the patients, per group; they add up to one.
        size_weight: Cost of one patient too many or too few in a group.
        event_points: Percentage points within which a group's share of events is to stay.
        size_permille: Thousandths of the intended size within which a group's size is to stay.
    """

    sizes: tuple[int, ...]
    quantities: tuple[Quantity, ...]
    shares: tuple[Fraction, ...]
    size_weight: int
    event_points: int
    size_permille: int

    @property
    def patients(self) -> int:
        """All patients."""
        return sum(self.sizes)

    @property
    def events(self) -> Quantity | None:
        """The quantity under the rule on events, None where nobody has one."""
        return next((q for q in self.quantities if q.name == EVENT and any(q.counts)), None)

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Rules that mean something here, the one given up last first."""
        return ("events", "size") if self.events else ("size",)


@dataclass(frozen=True)
class Assignment:
    """The group of every site, and how good it is.

    Attributes:
        groups: Group of every site.
        status: ``OPTIMAL`` (proved) or ``FEASIBLE`` (the effort was used up).
        objective: Cost of this assignment.
        bound: No assignment under the kept rules costs less.
        kept: Rules that hold.
        given_up: Rules that do not, and whether the solver has proved that they cannot.
    """

    groups: tuple[int, ...]
    status: str
    objective: int
    bound: int
    kept: tuple[Rule, ...]
    given_up: dict[Rule, bool]

    def report(self) -> dict[str, Any]:
        """For the audit; `gap_percent` is relative to the objective."""
        gap = self.objective - self.bound
        percent = round(100 * gap / self.objective, 1) if self.objective else 0.0
        return {
            "status": self.status, "objective": self.objective, "bound": self.bound, "gap": gap,
            "gap_percent": percent, "kept": list(self.kept), "given_up": dict(self.given_up),
        }  # fmt: skip


def cost(problem: Problem, groups: Sequence[int]) -> int:
    """The objective of an assignment (see above)."""
    at = np.asarray(groups)
    number = len(problem.shares)

    def per_group(counts: tuple[int, ...]) -> NDArray[np.int64]:
        return np.array([np.asarray(counts, dtype=np.int64)[at == g].sum() for g in range(number)], dtype=np.int64)

    sizes, patients = per_group(problem.sizes), problem.patients
    off = [abs(share.denominator * n - share.numerator * patients) // share.denominator
           for share, n in zip(problem.shares, map(int, sizes), strict=True)]  # fmt: skip
    total = problem.size_weight * (sum(off) + number * max(off))
    for quantity in problem.quantities:
        distance = np.abs(patients * per_group(quantity.counts) - sum(quantity.counts) * sizes) // patients
        total += quantity.weight * int(distance.sum() + number * distance.max())
    return int(total)


def assign_sites(problem: Problem, *, effort: float, seed: int) -> Assignment:
    """Solve, giving up rules one after the other where they cannot hold.

    Args:
        problem: Sites, quantities and groups; at least as many sites as groups.
        effort: Deterministic time of CP-SAT for every set of rules tried.
        seed: Seed of the search; it only decides between assignments, never on which are allowed.

    Raises:
        PathomixError: Fewer sites than groups, or no assignment was found within the effort.
    """
    if len(problem.sizes) < len(problem.shares):
        raise PathomixError(
            f"{len(problem.sizes)} sites cannot fill {len(problem.shares)} groups",
            remedy="ask for fewer groups",
        )
    order = sorted(range(len(problem.sizes)), key=lambda s: (-problem.sizes[s], _content(problem, s), s))
    given_up: dict[Rule, bool] = {}
    for rules in _attempts(problem.rules):
        model, chosen = _model(problem, order, rules)
        solver = cp_model.CpSolver()
        solver.parameters.num_workers = 1
        solver.parameters.interleave_search = True
        solver.parameters.random_seed = seed
        solver.parameters.max_deterministic_time = effort
        status = solver.solve(model)
        if status in (cp_model.OPTIMAL, cp_model.FEASIBLE):
            groups = tuple(next(g for g, x in enumerate(row) if solver.boolean_value(x)) for row in chosen)
            # Before it has finished, the solver may hold deviations larger than its own assignment needs.
            return Assignment(
                groups, solver.status_name(status), cost(problem, groups),
                max(0, round(solver.best_objective_bound)), rules,
                {rule: given_up[rule] for rule in problem.rules if rule not in rules},
            )  # fmt: skip
        if rules:
            # Both fail together: size is given up. One fails alone: it is the one.
            given_up[rules[-1]] = status == cp_model.INFEASIBLE
    raise PathomixError(
        f"no assignment of {len(problem.sizes)} sites to {len(problem.shares)} groups within an effort of {effort:g}",
        remedy="raise `effort`",
    )


def _attempts(rules: tuple[Rule, ...]) -> Iterator[tuple[Rule, ...]]:
    yield rules
    if len(rules) == 2:
        yield from ((rule,) for rule in rules)
    yield ()


def _content(problem: Problem, site: int) -> tuple[int, ...]:
    return tuple(q.counts[site] for q in problem.quantities)


def _model(
    problem: Problem, order: list[int], rules: tuple[Rule, ...]
) -> tuple[cp_model.CpModel, list[list[cp_model.IntVar]]]:
    """The model, and per site its choice of group."""
    model, groups, patients = cp_model.CpModel(), range(len(problem.shares)), problem.patients
    chosen = [[model.new_bool_var(f"{s}/{g}") for g in groups] for s in range(len(problem.sizes))]
    for row in chosen:
        model.add_exactly_one(row)
    _break_symmetry(model, chosen, problem, order)

    def held(counts: tuple[int, ...]) -> list[Any]:
        return [sum(count * chosen[s][g] for s, count in enumerate(counts) if count) for g in groups]

    sizes = []
    for total in held(problem.sizes):
        size = model.new_int_var(1, patients, "")
        model.add(size == total)
        sizes.append(size)
    cost_terms = []
    off = []
    for size, share in zip(sizes, problem.shares, strict=True):
        over = share.denominator * size - share.numerator * patients
        off.append(_whole(model, over, share.denominator, patients))
        if "size" in rules:
            _within(model, 1000 * over, problem.size_permille * share.numerator * patients)
    cost_terms.append(problem.size_weight * _sum_and_maximum(model, off, patients))
    for quantity in problem.quantities:
        total, off = sum(quantity.counts), []
        for size, count in zip(sizes, held(quantity.counts), strict=True):
            over = patients * count - total * size
            off.append(_whole(model, over, patients, patients))
            if "events" in rules and quantity.name == EVENT and total:
                _within(model, 100 * over, problem.event_points * patients * size)
                model.add(count >= 1)
        cost_terms.append(quantity.weight * _sum_and_maximum(model, off, patients))
    model.minimize(sum(cost_terms))
    return model, chosen


def _whole(model: cp_model.CpModel, over: Any, unit: int, most: int) -> cp_model.IntVar:
    """At least floor(|over| / unit)."""
    result = model.new_int_var(0, most, "")
    model.add(unit * result >= over - (unit - 1))
    model.add(unit * result >= -over - (unit - 1))
    return result


def _within(model: cp_model.CpModel, over: Any, limit: Any) -> None:
    model.add(over <= limit)
    model.add(-over <= limit)


def _sum_and_maximum(model: cp_model.CpModel, off: list[cp_model.IntVar], most: int) -> Any:
    largest = model.new_int_var(0, most, "")
    model.add_max_equality(largest, off)
    return sum(off) + len(off) * largest


def _break_symmetry(
    model: cp_model.CpModel, chosen: list[list[cp_model.IntVar]], problem: Problem, order: list[int]
) -> None:
    """Keep one of the assignments that differ by the names of equal groups or by a swap of equal sites.

    The lexicographically smallest of them, in `order`, opens groups in turn and never goes down between equal sites.
    """
    groups = len(problem.shares)
    if len(set(problem.shares)) == 1:
        for place, site in enumerate(order):
            for group in range(1, groups):
                earlier = [chosen[s][group - 1] for s in order[:place]]
                model.add_bool_or([*earlier, chosen[site][group].negated()])
    for one, other in pairwise(order):
        if problem.sizes[one] == problem.sizes[other] and _content(problem, one) == _content(problem, other):
            model.add(sum(g * chosen[one][g] for g in range(groups)) <= sum(g * x for g, x in enumerate(chosen[other])))
