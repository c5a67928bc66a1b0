from __future__ import annotations

import numpy as np
import pytest

from pathomix.evaluate.differences import Cell, with_differences
from pathomix.evaluate.holm import holm
from pathomix.evaluate.resampled import NOT_OVERLAPPING
from pathomix.evaluate.resolvable import NO_ROW, ONE_ROW

TESTED, TRAINED = frozenset(map(str, range(20))), frozenset(map(str, range(20, 100)))


def cell(mean: float, seed: int, folds=(0, 1, 2, 3), spread=0.02, seed_variance=0.0) -> Cell:
    """A row whose folds and draws scatter about its mean."""
    generator = np.random.default_rng(seed)
    scattered = mean + spread * generator.normal(size=len(folds))
    values = dict(zip(folds, scattered.tolist(), strict=True))
    draws = np.mean(list(values.values())) + 0.02 * generator.normal(size=999)
    row = {"mean": float(np.mean(list(values.values())))}
    return Cell(row, values, draws, seed_variance, dict.fromkeys(folds, TESTED), dict.fromkeys(folds, TRAINED))


def empty() -> Cell:
    return Cell({"mean": np.nan}, {}, None, 0.0, {}, {})


def rows_of(cells, reference="base", overlapping=False):
    return dict(zip(cells, with_differences(cells, reference, overlapping), strict=True))


def test_every_row_is_compared_with_the_reference_and_adjusted_for_how_many_are():
    cells = {"base": cell(0.6, 0), "near": cell(0.61, 1), "far": cell(0.75, 2), "mid": cell(0.66, 3)}
    rows = rows_of(cells)
    for name in ("near", "far", "mid"):
        drawn = cells[name].draws - cells["base"].draws
        assert rows[name]["difference"] == pytest.approx(cells[name].row["mean"] - cells["base"].row["mean"])
        rarer = min((drawn <= 0).sum(), (drawn >= 0).sum())
        assert rows[name]["bootstrap_p"] == pytest.approx(min(1, 2 * (1 + rarer) / 1000))
        assert rows[name]["test_reason"] == NOT_OVERLAPPING
    assert rows["far"]["bootstrap_p"] == 0.002 < rows["near"]["bootstrap_p"]
    names = ["near", "far", "mid"]
    assert [rows[n]["holm_p"] for n in names] == pytest.approx(holm([rows[n]["bootstrap_p"] for n in names]))
    assert np.isnan([rows["base"][name] for name in ("difference", "bootstrap_p", "holm_p")]).all()


def test_where_parts_overlap_the_resampled_test_is_the_one_adjusted():
    rows = rows_of({"base": cell(0.6, 0), "near": cell(0.61, 1), "far": cell(0.75, 2)}, overlapping=True)
    assert np.isfinite([rows[name]["bootstrap_p"] for name in ("near", "far")]).all()
    expected = holm([rows[name]["resampled_p"] for name in ("near", "far")])
    assert [rows[name]["holm_p"] for name in ("near", "far")] == pytest.approx(expected)


def test_the_test_counts_the_patients_that_both_rows_predict():
    one, other = cell(0.6, 0), cell(0.61, 1)
    for fold in one.folds:
        one.scored[fold], other.scored[fold] = TESTED - {"0"}, TESTED - {"1", "2"}
        one.trained[fold], other.trained[fold] = TRAINED - {"20"}, TRAINED - {"21"}
    assert rows_of({"base": one, "a": other}, overlapping=True)["a"]["test_ratio"] == pytest.approx(17 / 78)


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ({"row": cell(0.6, 1)}, "the reference row base is not run on this cohort"),
        ({"base": empty(), "row": cell(0.6, 1)}, "no value to compare"),
        ({"base": cell(0.6, 1), "row": empty()}, "no value to compare"),
        ({"base": cell(0.6, 1), "row": cell(0.6, 2, folds=(0, 1, 3))}, "not on the folds of the reference"),
    ],
)
def test_what_cannot_be_compared_is_missing_with_its_reason_and_counts_for_nothing(cells, reason):
    rows = rows_of({**cells, "other": cell(0.7, 5)})
    assert rows["row"]["test_reason"] == reason
    assert np.isnan([rows["row"][n] for n in ("difference", "difference_lower", "bootstrap_p", "holm_p")]).all()
    if np.isfinite(rows["other"]["bootstrap_p"]):
        assert rows["other"]["holm_p"] == rows["other"]["bootstrap_p"], "one comparison is not adjusted"


def test_the_resolvable_difference_is_of_the_pairs_that_are_compared():
    cells = {"base": cell(0.6, 0), "a": cell(0.61, 1), "b": cell(0.61, 2)}
    compared = [np.std(cells[name].draws - cells["base"].draws, ddof=1) for name in ("a", "b")]
    every = [*compared, np.std(cells["a"].draws - cells["b"].draws, ddof=1)]
    for reference, errors in (("base", compared), ("", every), ("absent", every)):
        rows = rows_of(cells, reference)
        assert {row["resolvable"] for row in rows.values()} == {rows["a"]["resolvable"]}
        assert rows["a"]["resolvable"] == pytest.approx(2.8016 * np.median(errors), rel=1e-4)
        assert rows["a"]["resolvable_reason"] is None


def test_fewer_seeds_resolve_less():
    few, many = ({n: cell(0.6, s, seed_variance=v) for s, n in enumerate(("base", "a"))} for v in (0.02**2, 0.01**2))
    assert rows_of(few)["a"]["resolvable"] > rows_of(many)["a"]["resolvable"]


def test_one_row_alone_stands_for_two_and_says_so():
    alone = {"row": cell(0.6, 0), "gone": empty()}
    rows = rows_of(alone, reference="")
    expected = 2.8016 * np.sqrt(2) * alone["row"].draws.std(ddof=1)
    for row in rows.values():
        assert row["resolvable"] == pytest.approx(expected, rel=1e-4) and row["resolvable_reason"] == ONE_ROW
    nothing = rows_of({"gone": empty()}, reference="")["gone"]
    assert np.isnan(nothing["resolvable"]) and nothing["resolvable_reason"] == NO_ROW
