"""Parameter names read from source equal those of the imported classes."""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path

import pytest

from pathomix.core.errors import PathomixError
from pathomix.methods.registry import METHODS
from pathomix.workflow.plan import _HEATMAPS, _SITE_PROBE
from pathomix.workflow.settings import check_parameters, parameter_names
from pathomix.workflow.slides import _ENGINE, _TILES, _TISSUE

CLASSES = [
    *((target.partition(":")[0], "Settings") for target in METHODS.values()),
    *(_TISSUE, _TILES, _ENGINE, _HEATMAPS, _SITE_PROBE),
]


@pytest.mark.parametrize(("module", "name"), CLASSES)
def test_names_equal_the_dataclass(root: Path, module: str, name: str) -> None:
    imported = getattr(importlib.import_module(module), name)
    assert parameter_names(root / "src", module, name) == {field.name for field in dataclasses.fields(imported)}


def test_an_unknown_parameter_is_named() -> None:
    with pytest.raises(PathomixError, match="dropuot"):
        check_parameters({"dropuot": 1, "width": 2}, {"dropout", "width"}, "methods.x")


def test_a_missing_class_is_an_error(root: Path) -> None:
    with pytest.raises(LookupError, match="Absent"):
        parameter_names(root / "src", "pathomix.slides.tiles", "Absent")
