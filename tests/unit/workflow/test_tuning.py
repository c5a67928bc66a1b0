from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from pathomix.core.errors import PathomixError
from pathomix.workflow.tuning import TuningPlan

ROOT = Path(__file__).parents[3]
CONFIG: dict[str, Any] = {
    "results": "results/own",
    "tuning": {"budget": 4},
    "splits": {
        "cv": {"scheme": "stratified_kfold", "inner": {"scheme": "stratified_kfold", "folds": 3}},
        "plain": {"scheme": "stratified_kfold"},
    },
    "methods": {
        "snn": {
            "method": "snn",
            "label": "SNN, genes",
            "blocks": ["expression"],
            "tuning": {"grid": {"learning_rate": [0.001, 0.002], "dropout": [0.1, 0.25, 0.5]}},
        },
        "ridge": {"method": "ridge", "blocks": ["expression"]},
    },
    "studies": {"main": {"scheme": "cv", "methods": ["snn", "ridge"]}},
}


def plan(**changes: Any) -> TuningPlan:
    return TuningPlan({**copy.deepcopy(CONFIG), **changes}, ROOT)


def with_grid(grid: Any, method: str = "snn") -> TuningPlan:
    entry = {"method": method, "blocks": ["expression"], "tuning": {"grid": grid}}
    return plan(methods={**CONFIG["methods"], "snn": entry})


def test_what_a_tuned_row_reads() -> None:
    tuned = plan()
    assert tuned.files("snn", "a", "cv") == ["results/own/splits/a/cv.inner.parquet"]
    assert json.loads(tuned.parameters("snn")) == {"budget": 4, "grid": CONFIG["methods"]["snn"]["tuning"]["grid"]}
    assert tuned.files("ridge", "a", "cv") == []
    assert tuned.parameters("ridge") == ""


def test_the_caption_says_budget_and_folds_and_which_grid_is_smaller() -> None:
    rows = ["snn", "ridge"]
    assert plan().caption(rows, "cv") == (
        "Each tuned row: best of 4 settings by 3 inner folds. Rows that are not tuned: ridge."
    )
    assert plan(tuning={"budget": 9}).caption(["snn"], "cv") == (
        "Each tuned row: best of 9 settings by 3 inner folds. Grid smaller than that, used whole: SNN, genes (6)."
    )
    assert plan().caption(["ridge"], "plain") == ""


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({"learning_rat": [1, 2]}, "unknown parameters: learning_rat; use .*learning_rate"),
        ({"label": ["a", "b"]}, "unknown parameters: label"),
        ({"penalties": [[1.0], [2.0]]}, "unknown parameters: penalties"),  # of another method
        ({"dropout": []}, "no list of values: dropout"),
        ({"dropout": 0.1}, "no list of values: dropout"),
        ({}, "no list of values"),
        ({"dropout": [0.1, 0.2, 0.1]}, "the same value twice: dropout"),
        ({"epochs": [10, 10.0]}, "the same value twice: epochs"),
        ({"hidden": [[8, 8], [8, 8]]}, "the same value twice: hidden"),
        ({"hidden": [{"a": 1}, [8]]}, "values are mappings: hidden"),
        ({"dropout": [0.1]}, "leaves no choice: dropout"),
    ],
)
def test_grids_that_are_refused(grid: Any, message: str) -> None:
    with pytest.raises(PathomixError, match=rf"methods\.snn\.tuning\.grid:? {message}|{message}"):
        with_grid(grid)


def test_what_is_alike_but_not_the_same_is_taken() -> None:
    with_grid({"constant_epochs": [0, None], "hidden": [[8, 8], [8]]})
    with_grid({"penalties": [[1.0], [2.0]], "inner_folds": [3, 4]}, method="ridge")


def test_a_tuned_row_needs_a_budget_and_inner_folds() -> None:
    with pytest.raises(PathomixError, match="there is no budget: snn"):
        plan(tuning={})
    for scheme in ({"scheme": "stratified_kfold"}, {"scheme": "stratified_kfold", "inner": {"scheme": "site_kfold"}}):
        with pytest.raises(PathomixError, match="study main tunes rows, but its scheme cv"):
            plan(splits={"cv": scheme})
    with pytest.raises(PathomixError, match="no method 'nix'"):
        with_grid({"dropout": [0.1, 0.2]}, method="nix")


def test_a_row_no_study_uses_needs_no_inner_folds() -> None:
    plan(studies={"main": {"scheme": "plain", "methods": ["ridge"]}})
