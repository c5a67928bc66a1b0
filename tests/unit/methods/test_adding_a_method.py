"""docs/adding_a_method.md does what it says: its blocks are run as they stand."""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import yaml

from pathomix.cohort.cases import Cases
from pathomix.core.errors import PathomixError
from pathomix.core.fitting import recording
from pathomix.core.schemas import PREDICTIONS
from pathomix.methods import registry
from pathomix.methods.build import build_method
from pathomix.methods.run import run_fold
from pathomix.survival.concordance import harrell_c
from pathomix.workflow.settings import check_parameters, parameter_names

Parts = Callable[..., tuple[Cases, Cases, Cases]]
# Keys of an entry that belong to the workflow and never reach the method.
OF_THE_ROW = ("label", "group", "tuning")


@pytest.fixture(scope="module")
def document(root: Path) -> str:
    return (root / "docs/adding_a_method.md").read_text(encoding="utf-8")


def blocks(document: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", document, re.DOTALL)


@pytest.fixture
def added(document: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The file under its name, and the line in the registry."""
    place = re.search(r"`src/(pathomix/methods/\w+\.py)`\. It gets", document)
    line = re.search(r'`"(\w+)": "([\w.]+):(\w+)",`', document)
    assert place and line
    module_name = place[1].removesuffix(".py").replace("/", ".")
    assert line[2] == module_name
    source = tmp_path / Path(place[1]).name
    source.write_text(blocks(document, "python")[0], encoding="utf-8")
    spec = importlib.util.spec_from_file_location(module_name, source)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, module_name, module)
    spec.loader.exec_module(module)
    assert line[1] not in registry.METHODS, "the document would replace a method"
    monkeypatch.setitem(registry.METHODS, line[1], f"{line[2]}:{line[3]}")  # type: ignore[call-overload]
    return module


def test_the_entry_builds_the_method_and_its_grid(document: str, added: ModuleType) -> None:
    (text,) = blocks(document, "yaml")
    ((name, entry),) = yaml.safe_load(text).items()
    assert f"name `{name}` in a study" in document
    assert entry["label"] in document.split("**5.")[1]
    configuration = {key: value for key, value in entry.items() if key not in OF_THE_ROW}
    for key, values in entry["tuning"]["grid"].items():
        for value in values:
            assert getattr(build_method({**configuration, key: value}).parameters, key) == value  # type: ignore[attr-defined]
    with pytest.raises(PathomixError, match="unknown parameters: wdith"):
        build_method({**configuration, "wdith": 3})


def test_the_workflow_takes_the_entry(document: str, root: Path, tmp_path: Path) -> None:
    """It reads parameters from the source, before anything is imported."""
    (entry,) = yaml.safe_load(blocks(document, "yaml")[0]).values()
    shutil.copytree(root / "src/pathomix/methods", tmp_path / "pathomix/methods")
    (tmp_path / "pathomix/methods/one_layer.py").write_text(blocks(document, "python")[0], encoding="utf-8")
    known = parameter_names(tmp_path, "pathomix.methods.one_layer", "Settings") | {"method"}
    configuration = {key: value for key, value in entry.items() if key not in OF_THE_ROW}
    check_parameters(configuration, known, "methods.one_layer_genes")
    with pytest.raises(PathomixError, match="unknown parameters: wdith"):
        check_parameters({**configuration, "wdith": 3}, known, "methods.one_layer_genes")


def test_its_test_passes(document: str, added: ModuleType, cohort: Cases, parts_of: Parts) -> None:
    names: dict = {"build_method": build_method, "harrell_c": harrell_c}
    exec(blocks(document, "python")[1], names)
    names["test_finds_the_signal"](cohort, parts_of)


def test_it_runs_like_the_others(added: ModuleType, cohort: Cases, fold_of: Callable, parts_of: Parts) -> None:
    """Predictions by the schema, missing ones for those without expression, no test patient seen."""
    gone = cohort.ids[[0, 5, 1]]
    holed = replace(cohort, expression=cohort.expression.drop(index=gone))  # type: ignore[union-attr]
    method = build_method({"method": "one_layer", "blocks": ["expression"]})
    with recording() as record:
        result = run_fold(method, holed, fold_of(holed), ("survival", "subtype"), 0)
    assert not result.failures
    PREDICTIONS.validate(result.predictions)
    survival = result.predictions.query("task == 'survival'").set_index("patient_id")["risk"]
    assert set(survival.index[survival.isna()]) == set(gone)
    test = set(parts_of(holed)[2].ids)
    assert {"training", "scaler"} <= set(record.steps)
    assert not any(record.ids(step) & test for step in record.steps)
    assert all(np.isfinite(value).all() for value in result.state.values() if value.dtype.kind == "f")


def test_it_is_short_and_names_files_that_exist(document: str, root: Path) -> None:
    lines = document.splitlines()
    assert len(lines) <= 60
    for path in re.findall(r"`((?:src|tests)/[\w./]+\.py)`", document):
        assert path.endswith("methods/one_layer.py") or (root / path).is_file(), path
