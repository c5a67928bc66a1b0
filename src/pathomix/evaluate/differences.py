"""The rows of one block and metric side by side: differences to the reference row, their tests, what is resolvable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathomix.evaluate.bootstrap import percentile_interval, two_sided_p
from pathomix.evaluate.holm import holm
from pathomix.evaluate.oracles import is_oracle
from pathomix.evaluate.resampled import resampled_tests
from pathomix.evaluate.resolvable import NO_ROW, ONE_ROW, Pair, Resolvable, resolvable_difference

_NUMBERS = ("difference", "difference_lower", "difference_upper", "resampled_t", "resampled_p", "wilcoxon_p")
_NOT_COMPARED = {
    **dict.fromkeys((*_NUMBERS, "bootstrap_p", "holm_p", "test_ratio"), float("nan")),
    "test_reason": None,
}


@dataclass
class Cell:
    """One cell: its row of the table, its value in each fold it stands on, and its mean under every resample.

    Attributes:
        row: Row of SCORES.
        folds: Fold to its value, the mean over seeds.
        draws: [resamples]; None where there is no value.
        seed_variance: Variance of the mean over further seeds; 0 where nothing tells.
        scored: Fold to the test patients that have a prediction.
        trained: Fold to the training patients that have one.
    """

    row: dict[str, Any]
    folds: dict[int, float]
    draws: NDArray[np.float64] | None
    seed_variance: float
    scored: dict[int, frozenset[str]]
    trained: dict[int, frozenset[str]]

    @property
    def values(self) -> NDArray[np.float64]:
        """Value in each fold, [folds]."""
        return np.array(list(self.folds.values()))


def with_differences(cells: Mapping[str, Cell], reference: str, overlapping: bool) -> list[dict[str, Any]]:
    """Rows of one block and metric, completed with everything that takes two rows to know.

    Args:
        cells: Method to its cell.
        reference: The row that every other is compared with; empty = none.
        overlapping: Whether a patient is tested in several folds.

    Returns:
        The rows of the cells; see `schemas.SCORES` for the columns.
    """
    base = cells.get(reference)
    for method, cell in cells.items():
        cell.row |= {"reference": reference or None, **_NOT_COMPARED}
        if not reference or method == reference:
            continue
        if base is None:
            cell.row["test_reason"] = f"the reference row {reference} is not run on this cohort"
        elif cell.draws is None or base.draws is None:
            cell.row["test_reason"] = "no value to compare"
        elif tuple(cell.folds) != tuple(base.folds):
            cell.row["test_reason"] = "not on the folds of the reference"
        else:
            differences = cell.draws - base.draws
            lower, upper = percentile_interval(differences)
            cell.row["difference"] = cell.row["mean"] - base.row["mean"]
            cell.row |= {"difference_lower": lower, "difference_upper": upper, "bootstrap_p": two_sided_p(differences)}
            cell.row |= _tests(cell, base, overlapping)
    # An oracle is no candidate: it neither makes a family of tests larger nor tells what two methods differ by.
    candidates = {method: cell for method, cell in cells.items() if not is_oracle(method)}
    smallest = _resolvable(candidates, reference, overlapping)
    p_values = [cell.row["resampled_p" if overlapping else "bootstrap_p"] for cell in candidates.values()]
    adjusted = dict(zip(candidates, holm(p_values), strict=True))
    for method, cell in cells.items():
        p = float(adjusted.get(method, float("nan")))
        cell.row |= {"holm_p": p, "resolvable": smallest.value, "resolvable_reason": smallest.reason}
    return [cell.row for cell in cells.values()]


def _tests(cell: Cell, base: Cell, overlapping: bool) -> dict[str, Any]:
    """Tests over folds of the difference to the reference row, on the patients that both rows predict."""
    found = resampled_tests(cell.values - base.values, *_sizes(cell, base), overlapping)
    return {
        "resampled_t": found.t,
        "resampled_p": found.t_p,
        "wilcoxon_p": found.wilcoxon_p,
        "test_ratio": found.ratio,
        "test_reason": found.reason,
    }


def _sizes(one: Cell, other: Cell) -> tuple[float, float]:
    """Mean number of test and of training patients of a fold that both rows predict.

    Counting patients that only one row predicts would make the training part look larger, for the same test part, where
    one row lacks a modality; the share of tested patients would come out too small and the test too lenient.
    """
    tested, trained = (
        float(np.mean([_shared(mine[fold], theirs[fold]) for fold in one.folds]))
        for mine, theirs in ((one.scored, other.scored), (one.trained, other.trained))
    )
    return tested, trained


def _shared(mine: frozenset[str], theirs: frozenset[str]) -> int:
    # Mostly both rows predict everybody, and are given the same set: a study of many rows has many pairs.
    return len(mine) if mine is theirs else len(mine & theirs)


def _resolvable(cells: Mapping[str, Cell], reference: str, overlapping: bool) -> Resolvable:
    known = {method: (cell, cell.draws) for method, cell in cells.items() if cell.draws is not None}
    if not known:
        return Resolvable(float("nan"), NO_ROW)
    if len(known) == 1:
        ((cell, draws),) = known.values()
        twice = Pair(np.sqrt(2) * draws, np.sqrt(2) * cell.values, _ratio(cell, cell), 2 * cell.seed_variance)
        found = resolvable_difference([twice], overlapping)
        return Resolvable(found.value, "; ".join([ONE_ROW, *([found.reason] if found.reason else [])]))
    pairs = [
        Pair(
            mine - theirs,
            one.values - other.values,
            _ratio(one, other) if overlapping else float("nan"),
            one.seed_variance + other.seed_variance,
        )
        for (first, (one, mine)), (second, (other, theirs)) in combinations(known.items(), 2)
        if reference not in known or reference in (first, second)
        if tuple(one.folds) == tuple(other.folds)
    ]
    return resolvable_difference(pairs, overlapping)


def _ratio(one: Cell, other: Cell) -> float:
    tested, trained = _sizes(one, other)
    return tested / trained if trained else float("nan")
