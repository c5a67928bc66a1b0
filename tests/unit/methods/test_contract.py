"""The contract of `methods.base`, for every registered method in every configuration of `conftest`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace

import numpy as np
import pandas as pd
import pytest
import torch

from pathomix.cohort.cases import Cases
from pathomix.core.fitting import FittingRecord, recording
from pathomix.core.registry import entry_of
from pathomix.core.schemas import HISTORY
from pathomix.methods.base import Model, Task
from pathomix.methods.build import build_method
from pathomix.methods.heads import CoxHead, DiscreteHead
from pathomix.methods.network import NetworkModel
from pathomix.methods.per_task import PerTaskModel
from pathomix.methods.registry import METHODS
from pathomix.methods.training_settings import TrainingSettings

from .conftest import CONFIGURATIONS

NAMES = list(CONFIGURATIONS)
# Its modulation of gradients is a ratio of Cox scores: there is no other head.
SURVIVAL_BY_COX_ONLY = {"path_gptomic"}
# A patient with images alone, and one with molecular measurements alone (age and stage known of both): which of them
# a configuration cannot predict. One without anything at all is predicted by none.
LOST = {
    "images": {"ridge", "ridge_pathways", "s_mlp", "s_mlp_nll", "s_mlp_valid", "snn", "mlp", "gene_mixer", "mcat",
               "mcat_bilinear", "survpath", "pathomic_fusion", "path_gptomic"},
    "molecular": {"probe", "abmil", "abmil_valid", "abmil_cat", "clam", "clam_mb", "deep_sets", "deep_sets_cat",
                  "deep_attn_misl", "transmil", "transmil_cat", "mcat", "mcat_bilinear", "survpath",
                  "gigapath_tuned", "gigapath_tuned_cat", "pathomic_fusion", "path_gptomic"},
}  # fmt: skip


@dataclass(frozen=True)
class Fitted:
    """One fit of a configuration."""

    model: Model
    record: FittingRecord
    tasks: tuple[Task, ...]
    parts: tuple[Cases, Cases, Cases]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Matrices this small are slower with several threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def short(configuration: dict) -> dict:
    """One epoch of everything."""
    result = {**configuration}
    for key in ("epochs", "omic_epochs", "image_epochs"):
        if key in result:
            result[key] = 1
    result |= {key: 0 for key in ("constant_epochs", "frozen_epochs") if key in result}
    if "components" in result:
        result["components"] = [short(component) for component in result["components"]]
    return result


@pytest.fixture(scope="module")
def holed(make_cohort: Callable[..., Cases]) -> Cases:
    """80 patients with vectors. Of every part: one of whom nothing is known, one with images, one without them."""
    cases = make_cohort(80, signal=3.0, seed=1)
    vectors = np.stack([bag[: len(bag) // 2].mean(axis=0) for bag in cases.tiles.bags.values()])  # type: ignore[union-attr]
    ids, place = cases.ids, np.arange(80)
    nothing, images, molecular = (set(ids[(place // 5 == row)]) for row in (0, 1, 2))
    bare, unmeasured = list(nothing | images), list(nothing | molecular)
    table = cases.patients.copy()
    table.loc[list(nothing), ["age", "sex", "stage"]] = None
    bags = {p: b for p, b in cases.tiles.bags.items() if p not in unmeasured}  # type: ignore[union-attr]
    return replace(
        cases,
        patients=table.astype({"age": float}),
        expression=cases.expression.drop(index=bare),  # type: ignore[union-attr]
        mutation=cases.mutation.drop(index=bare),  # type: ignore[union-attr]
        copy_number=cases.copy_number.drop(index=bare),  # type: ignore[union-attr]
        tiles=type(cases.tiles)(bags),  # type: ignore[call-arg, misc]
        vectors=pd.DataFrame(vectors, ids).drop(index=unmeasured),
    )


@pytest.fixture(scope="module")
def fitted(holed: Cases, parts_of: Callable[..., tuple[Cases, Cases, Cases]]) -> Callable[[str], Fitted]:
    """A configuration fitted once, for both tasks where it has both heads."""
    done: dict[str, Fitted] = {}

    def fit(name: str) -> Fitted:
        if name not in done:
            tasks: tuple[Task, ...] = ("survival",) if name in SURVIVAL_BY_COX_ONLY else ("survival", "subtype")
            train, valid, test = parts_of(holed)
            stream = torch.random.get_rng_state()
            with recording() as record:
                model = build_method(short(CONFIGURATIONS[name])).fit(train, valid, tasks=tasks, seed=0)
            assert torch.equal(torch.random.get_rng_state(), stream), "the fit moved the global random stream"
            done[name] = Fitted(model, record, tasks, (train, valid, test))
        return done[name]

    return fit


def test_every_registered_method_is_held_to_the_contract() -> None:
    assert {configuration["method"] for configuration in CONFIGURATIONS.values()} == set(METHODS)
    assert set().union(*LOST.values()) <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_what_a_model_gives(name: str, fitted: Callable[[str], Fitted]) -> None:
    fit = fitted(name)
    test = fit.parts[2]
    predicted = fit.model.predict(test)
    assert set(predicted) == set(fit.tasks)
    assert list(predicted["survival"].columns) == ["risk"]
    if "subtype" in predicted:
        assert list(predicted["subtype"].columns) == ["probability_type0", "probability_type1"]
        rows = predicted["subtype"].dropna()
        assert rows.sum(axis=1).to_numpy() == pytest.approx(1.0)
        assert ((rows >= 0) & (rows <= 1)).all(axis=None)
    for frame in predicted.values():
        assert frame.index.equals(test.ids)
        assert np.isfinite(frame.dropna().to_numpy()).all()
    state = fit.model.state()
    assert state and all(isinstance(value, np.ndarray) and np.isfinite(value).all() for value in state.values())
    history = fit.model.history()
    assert set(history["task"]) == set(fit.tasks)
    assert "step" in history
    HISTORY.validate(history.assign(row=np.arange(len(history))))


@pytest.mark.parametrize("name", NAMES)
def test_missing_modalities(name: str, fitted: Callable[[str], Fitted]) -> None:
    """Missing, where the method cannot do without; a number, where it can. Nobody else is lost."""
    fit = fitted(name)
    test = fit.parts[2]
    lost = [0, *([1] if name in LOST["images"] else []), *([2] if name in LOST["molecular"] else [])]
    for frame in fit.model.predict(test).values():
        assert np.flatnonzero(frame.isna().any(axis=1)).tolist() == lost
        assert np.flatnonzero(frame.isna().all(axis=1)).tolist() == lost


@pytest.mark.parametrize("name", NAMES)
def test_a_prediction_depends_on_nobody_else(name: str, fitted: Callable[[str], Fitted]) -> None:
    """Other company, another order, no outcome."""
    fit = fitted(name)
    test = fit.parts[2]
    few = test.subset(test.ids[[9, 4, 7, 3]])
    blind = replace(few, patients=few.patients.assign(time=np.nan, event=np.nan, class_label=None))
    whole = fit.model.predict(test)
    for task, frame in fit.model.predict(blind).items():
        assert frame.index.equals(few.ids)
        assert frame.to_numpy() == pytest.approx(whole[task].loc[few.ids].to_numpy(), rel=1e-4, abs=1e-5)
    for frame in fit.model.predict(test.subset([])).values():
        assert not len(frame)


@pytest.mark.parametrize("name", NAMES)
def test_fits_see_no_test_patient(name: str, fitted: Callable[[str], Fitted]) -> None:
    fit = fitted(name)
    train, valid, _ = fit.parts
    parts = getattr(build_method(short(CONFIGURATIONS[name])), "fitted_parts", ("train",))
    leave = set(train.ids) | (set(valid.ids) if "valid" in parts else set())
    assert "training" in fit.record.steps
    for step in fit.record.steps:
        allowed = leave | (set(valid.ids) if step in ("selection", "risk_scale") else set())
        assert fit.record.ids(step) <= allowed, step


def networks() -> list[str]:
    """Configurations whose method takes the switch `survival_loss`, one per method."""
    found = {}
    for name, configuration in CONFIGURATIONS.items():
        settings = getattr(_module(configuration["method"]), "Settings", None)
        if settings is not None and issubclass(settings, TrainingSettings):
            found.setdefault(configuration["method"], name)
    return list(found.values())


def _module(method: str) -> object:
    return sys.modules[entry_of("pathomix.methods.registry:METHODS", method, what="method", key="method").__module__]


def test_all_networks_take_the_switch() -> None:
    methods = {CONFIGURATIONS[name]["method"] for name in networks()}
    assert methods == set(METHODS) - {"clinical", "ridge", "probe", "late_fusion", *SURVIVAL_BY_COX_ONLY}
    for name in networks():
        assert "survival_loss" in {f.name for f in fields(_module(CONFIGURATIONS[name]["method"]).Settings)}  # type: ignore[attr-defined]


@pytest.mark.parametrize(("loss", "head"), [("pf", CoxHead), ("nll", DiscreteHead)])
@pytest.mark.parametrize("name", networks())
def test_survival_by_cox_and_by_discrete_hazards(
    name: str, loss: str, head: type, holed: Cases, parts_of: Callable[..., tuple[Cases, Cases, Cases]]
) -> None:
    train, valid, test = parts_of(holed)
    part = train.subset(train.ids[::2])
    configuration = {**short(CONFIGURATIONS[name]), "survival_loss": loss, "bins": 3}
    model = build_method(configuration).fit(part, valid, tasks=("survival",), seed=0)
    assert isinstance(model, PerTaskModel)
    single = model.models["survival"]
    assert isinstance(single, NetworkModel)
    assert type(single.head) is head
    assert single.head.outputs == (3 if loss == "nll" else 1)
    risk = model.predict(test)["survival"]["risk"].dropna()
    assert risk.nunique() > len(risk) // 2
    # Minus a sum of three survival probabilities.
    assert loss != "nll" or risk.between(-3, 0).all()
