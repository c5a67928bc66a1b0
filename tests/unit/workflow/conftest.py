"""A checkout of its own: the code of this one, with a configuration, tables and results that a test may change."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from pathomix.acquire.lock import HEADER_KEYS, Lock, LockedSlide, write_lock
from pathomix.workflow.configuration import read_configuration
from pathomix.workflow.plan import Plan

SIZES = {"TCGA-AA-0001": (1_000_000_000, 2_000_000_000), "TCGA-AA-0002": (3_000_000_000,)}
DESCRIPTION = {
    "tables": {"cases": {"path": "cases.csv", "id": "patient"}},
    "patients": "cases",
    "id": {"kind": "verbatim"},
    "survival": {
        "default_endpoint": "OS",
        "endpoints": {
            "OS": {
                "time": {"column": "t", "unit": "days"},
                "event": {"column": "e", "event_values": [1], "censored_values": [0]},
            }
        },
    },
    "class_label": "kind",
    "clinical": {"age": "age"},
    "slides": {"lock": "shared", "sample_types": ["01"]},
}
CONFIGURATION: dict[str, Any] = {
    "results": "results/own",
    "acquire": {"locks": "locks"},
    "cohorts": {name: {"description": "config/cohorts/own.yaml", "projects": ["TCGA-AAA"]} for name in ("one", "two")},
    "splits": {"cv": {"scheme": "stratified_kfold", "folds": 2}},
    "encoders": {"uni": {"model": "uni", "weights": "{data}/weights/uni/pytorch_model.bin"}},
    "methods": {
        "abmil": {"method": "abmil", "encoder": "uni"},
        "age": {"method": "clinical", "fields": ["age"]},
    },
    "studies": {
        "main": {
            "cohorts": ["one"],
            "scheme": "cv",
            "methods": ["abmil", "age"],
            "tasks": ["survival"],
            "kaplan_meier": "age",
        }
    },
}


@dataclass
class Checkout:
    """A checkout in a folder of its own."""

    root: Path

    @property
    def file(self) -> Path:
        return self.root / "config/own.yaml"

    def configure(self, **changes: Any) -> Path:
        """Write the configuration; `section__key=value` changes one entry, None removes it."""
        content = yaml.safe_load(yaml.safe_dump(CONFIGURATION))
        for path, value in changes.items():
            *folders, last = path.split("__")
            place = content
            for name in folders:
                place = place.setdefault(name, {})
            place[last] = value
        self.file.write_text(yaml.safe_dump(content))
        return self.file

    def plan(self, **changes: Any) -> Plan:
        return Plan(read_configuration([self.configure(**changes)], self.root), self.root)

    def lock(self) -> None:
        """Three slides of two patients."""
        slides = [
            LockedSlide(f"id{p}{i}", f"{p}-01Z-00-DX{i}.svs", "0" * 32, size, "TCGA-AAA", p, f"{p}-01Z-00-DX{i}",
                        f"{p}-01Z", "Primary Tumor")
            for p, sizes in SIZES.items() for i, size in enumerate(sizes)
        ]  # fmt: skip
        write_lock(Lock(tuple(slides), dict.fromkeys(HEADER_KEYS, "")), self.root / "locks/shared.slides.tsv")

    def complete(self) -> None:
        """Tables, lock and weights are there."""
        self.lock()
        for name in ("data/cases.csv", "data/weights/uni/pytorch_model.bin"):
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).write_text("x")


@pytest.fixture
def checkout(root: Path, tmp_path: Path) -> Checkout:
    (tmp_path / "config/cohorts").mkdir(parents=True)
    for name in ("src", "resources", "rules", "workflow_scripts", "config/schemas"):
        (tmp_path / name).symlink_to(root / name)
    (tmp_path / "config/cohorts/own.yaml").write_text(yaml.safe_dump(DESCRIPTION))
    made = Checkout(tmp_path)
    made.configure()
    return made
