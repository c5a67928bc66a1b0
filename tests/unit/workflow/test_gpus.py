"""A job asks for a GPU if, and only if, the component it runs would take one where there is one."""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path
from typing import Any

import pytest

from pathomix.methods.registry import METHODS
from pathomix.representations.registry import REPRESENTATIONS
from pathomix.smoothing.registry import EXPRESSION_ENCODERS
from pathomix.workflow.gpus import GpuPlan, default_of

MODULES = [
    *(
        (target.partition(":")[0], "Settings")
        for r in (METHODS, REPRESENTATIONS, EXPRESSION_ENCODERS)
        for target in r.values()
    ),
    ("pathomix.slides.engine.parameters", "EngineParameters"),
]
CONFIG: dict[str, Any] = {
    "slides": {"tissue": {}},
    "embedding": {},
    "representations": {"slide_vector": {"representation": "slide_vector"}},
    "expression_encoders": {"pca": {"encoder": "pca"}, "scgpt": {"encoder": "scgpt"}},
    "methods": {"clinical": {"method": "clinical"}, "abmil": {"method": "abmil", "device": "auto"}},
}


def runs_on(module: str, name: str) -> str:
    """The device that a component made without one runs on; the processor for those that know no other."""
    fields = {field.name: field.default for field in dataclasses.fields(getattr(importlib.import_module(module), name))}
    return fields.get("device", "cpu")


@pytest.mark.parametrize(("module", "name"), MODULES)
def test_the_default_read_from_source_is_that_of_the_class(root: Path, module: str, name: str) -> None:
    read = default_of(root / "src", module, name, "device") or "cpu"
    assert (read == "cpu") == (runs_on(module, name) == "cpu")


def test_both_kinds_of_default_occur() -> None:
    assert {runs_on(*each) == "cpu" for each in MODULES} == {True, False}


def test_what_has_no_such_field_has_no_default(root: Path) -> None:
    assert default_of(root / "src", "pathomix.methods.clinical", "Settings", "device") is None
    assert default_of(root / "src", "pathomix.methods.clinical", "Absent", "device") is None


def plan(root: Path, **changes: Any) -> GpuPlan:
    return GpuPlan(CONFIG | changes, root)


def test_tiles_and_representations_take_a_gpu_unless_told_otherwise(root: Path) -> None:
    assert plan(root).tiles() == plan(root).representation("slide_vector") == 1
    entry = {"representation": "slide_vector", "device": "cpu"}
    told = plan(root, embedding={"device": "cpu"}, representations={"slide_vector": entry})
    assert told.tiles() == told.representation("slide_vector") == 0


def test_tissue_takes_one_where_a_network_looks_for_it(root: Path) -> None:
    assert plan(root).tissue() == 0
    assert plan(root, slides={"tissue": {"masker_weights": {"hest": "weights/hest.ckpt"}}}).tissue() == 1


def test_encoders_of_expression_differ(root: Path) -> None:
    assert [plan(root).expression(name) for name in ("pca", "scgpt")] == [0, 1]


def test_rows_ask_for_what_they_or_one_of_their_components_use(root: Path) -> None:
    fused = {"method": "late_fusion", "components": [{"method": "ridge"}, {"method": "abmil", "device": "cuda"}]}
    plain = {"method": "late_fusion", "components": [{"method": "ridge"}, {"method": "clinical"}]}
    asked = plan(root, methods=CONFIG["methods"] | {"fused": fused, "plain": plain})
    assert {name: asked.method(name) for name in ("clinical", "abmil", "fused", "plain")} == {
        "clinical": 0,
        "abmil": 1,
        "fused": 1,
        "plain": 0,
    }
