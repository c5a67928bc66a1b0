"""What every method owes to the contract, on a planted cohort."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from pathomix.cohort.cases import Cases
from pathomix.core.errors import PathomixError
from pathomix.methods.build import build_method
from pathomix.methods.per_task import balanced_accuracy
from pathomix.survival.concordance import harrell_c

NAMES = [
    "clinical", "ridge", "ridge_pathways", "s_mlp", "s_mlp_nll", "s_mlp_valid", "snn", "abmil", "abmil_valid",
    "late_fusion",
]  # fmt: skip
# Least test c-index: a method of ten epochs need not be good, only clearly better than chance.
LEAST = dict.fromkeys(NAMES, 0.66) | {"clinical": 0.75, "ridge": 0.72, "s_mlp_nll": 0.57, "s_mlp_valid": 0.58}
Parts = Callable[..., tuple[Cases, Cases, Cases]]


def accuracy(test: Cases, predicted: pd.DataFrame) -> float:
    best = predicted.to_numpy().argmax(axis=1)
    true = (test.patients["class_label"] == "type1").to_numpy().astype(int)
    assert list(predicted.columns) == ["probability_type0", "probability_type1"]
    return balanced_accuracy(true, best)


@pytest.mark.parametrize("name", NAMES)
def test_finds_the_signal(name: str, cohort: Cases, parts_of: Parts, configurations: dict) -> None:
    train, valid, test = parts_of(cohort)
    model = build_method(configurations[name]).fit(train, valid, tasks=("survival", "subtype"), seed=0)
    predicted = model.predict(test)
    survival, subtype = predicted["survival"], predicted["subtype"]
    assert harrell_c(test.patients["time"], test.patients["event"], survival["risk"]) > LEAST[name]
    assert accuracy(test, subtype) > (0.55 if name == "clinical" else 0.6)
    assert subtype.sum(axis=1).to_numpy() == pytest.approx(1.0)
    assert survival.index.equals(test.ids)
    assert all(np.isfinite(value).all() for value in model.state().values())
    history = model.history()
    assert {"task", "step"} <= set(history.columns)
    assert set(history["task"]) == {"survival", "subtype"}


@pytest.mark.parametrize("name", ["ridge", "s_mlp", "abmil"])
def test_finds_nothing_where_nothing_is(name: str, null_cohort: Cases, parts_of: Parts, configurations: dict) -> None:
    train, valid, test = parts_of(null_cohort)
    model = build_method(configurations[name]).fit(train, valid, tasks=("survival", "subtype"), seed=0)
    predicted = model.predict(test)
    risk = predicted["survival"]["risk"]
    assert 0.36 < harrell_c(test.patients["time"], test.patients["event"], risk) < 0.64
    assert 0.34 < accuracy(test, predicted["subtype"]) < 0.66


@pytest.mark.parametrize("name", ["ridge", "s_mlp", "abmil_valid"])
def test_same_seed_same_numbers(name: str, cohort: Cases, parts_of: Parts, configurations: dict) -> None:
    train, valid, _ = parts_of(cohort)
    states = [
        build_method(configurations[name]).fit(train, valid, tasks=("survival",), seed=seed).state()
        for seed in (3, 3, 4)
    ]
    assert all(np.array_equal(states[0][key], states[1][key]) for key in states[0])
    if name != "ridge":  # its seed only moves the inner folds, which may lead to the same penalty
        assert not all(np.array_equal(states[0][key], states[2][key]) for key in states[0])


@pytest.mark.parametrize("name", ["ridge", "s_mlp", "abmil"])
def test_test_patients_never_reach_the_fit(name: str, cohort: Cases, parts_of: Parts, configurations: dict) -> None:
    """Other outcomes and other company of the test patients: the same prediction for each of them."""
    train, valid, test = parts_of(cohort)
    model = build_method(configurations[name]).fit(train, valid, tasks=("survival",), seed=0)
    few = test.subset(test.ids[:7])
    few = replace(few, patients=few.patients.assign(time=1.0, event=0))
    whole = model.predict(test)["survival"].loc[few.ids, "risk"]
    assert model.predict(few)["survival"]["risk"].to_numpy() == pytest.approx(whole.to_numpy(), rel=1e-5)


def without(cases: Cases, expression: list[str] = [], mutation: list[str] = [], tiles: list[str] = []) -> Cases:  # noqa: B006
    assert cases.expression is not None
    assert cases.mutation is not None
    bags = {p: b for p, b in cases.tiles.bags.items() if p not in tiles}  # type: ignore[union-attr]
    return replace(
        cases,
        expression=cases.expression.drop(index=expression),
        mutation=cases.mutation.drop(index=mutation),
        tiles=type(cases.tiles)(bags),  # type: ignore[call-arg, misc]
    )


@pytest.mark.parametrize("name", ["ridge", "s_mlp", "abmil", "late_fusion"])
def test_missing_modalities(name: str, cohort: Cases, parts_of: Parts, configurations: dict) -> None:
    train, valid, test = parts_of(cohort)
    a, b, c = test.ids[:3]
    gone = [*train.ids[:5], a]
    holed = without(cohort, expression=[*gone, b], mutation=[*gone, c], tiles=[*gone, c])
    train, valid, test = parts_of(holed)
    model = build_method(configurations[name]).fit(train, valid, tasks=("survival", "subtype"), seed=0)
    for predicted in model.predict(test).values():
        lost = {"ridge": [a], "s_mlp": [a, b], "abmil": [a, c], "late_fusion": [a]}[name]
        assert predicted.index[predicted.isna().any(axis=1)].tolist() == lost
        assert predicted.index[predicted.isna().all(axis=1)].tolist() == lost


@pytest.mark.parametrize("name", NAMES)
def test_a_cohort_without_what_the_method_needs(
    name: str, cohort: Cases, parts_of: Parts, configurations: dict
) -> None:
    bare = replace(cohort, expression=None, mutation=cohort.mutation.iloc[:0], tiles=None)  # type: ignore[union-attr]
    bare = replace(bare, patients=bare.patients.assign(sex=None, stage=None))
    train, valid, _ = parts_of(bare)
    with pytest.raises(PathomixError, match=r"no (training|valid) patient has"):
        build_method(configurations[name]).fit(train, valid, tasks=("survival",), seed=0)


@pytest.mark.parametrize("name", ["clinical", "ridge", "s_mlp", "abmil", "late_fusion"])
def test_outcomes_that_carry_no_task(name: str, cohort: Cases, parts_of: Parts, configurations: dict) -> None:
    method = build_method(configurations[name])
    for column, value, task, fact in (
        ("event", 0, "survival", "no event"),
        ("class_label", "type1", "subtype", "one class"),
        ("class_label", None, "subtype", "known outcome"),
        ("time", np.nan, "survival", "known outcome"),
    ):
        flat = replace(cohort, patients=cohort.patients.assign(**{column: value}))
        with pytest.raises(PathomixError, match=fact):
            method.fit(*parts_of(flat)[:2], tasks=(task,), seed=0)  # type: ignore[arg-type]


def test_no_valid_part(cohort: Cases, parts_of: Parts, configurations: dict) -> None:
    train, valid, test = parts_of(cohort, valid=False)
    assert not len(valid.ids)
    for name in ("ridge", "s_mlp", "late_fusion"):
        model = build_method(configurations[name]).fit(train, valid, tasks=("survival",), seed=0)
        assert model.predict(test)["survival"]["risk"].notna().all()
    for name in ("s_mlp_valid", "abmil_valid"):
        with pytest.raises(PathomixError, match="no epoch can be selected"):
            build_method(configurations[name]).fit(train, valid, tasks=("survival",), seed=0)


def test_configurations_that_make_no_sense_are_refused() -> None:
    with pytest.raises(PathomixError, match=r"unknown method 'ridgee'; set `method` to one of \['abmil'"):
        build_method({"method": "ridgee"})
    with pytest.raises(PathomixError, match="ridge: unknown parameters: penalty"):
        build_method({"method": "ridge", "blocks": ["age"], "penalty": 1})
    with pytest.raises(PathomixError, match="penalties must be above 0"):
        build_method({"method": "ridge", "blocks": ["age"], "penalties": [0]})
    with pytest.raises(PathomixError, match="survival_loss is 'cox'"):
        build_method({"method": "snn", "blocks": ["age"], "survival_loss": "cox"})
    with pytest.raises(PathomixError, match="no components"):
        build_method({"method": "late_fusion", "components": []})
