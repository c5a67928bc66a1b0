"""A small study a user could have written, and a way to spoil one thing of it."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from pathomix.cohort.importer import build_cohort
from pathomix.genomics.gene_sets import read_measured

PATIENTS = [f"TEST-{site}-{n:04d}" for n, site in enumerate(["02", "02", "02", "05", "05", "05", "A1", "A1"], start=1)]
GENES = ["TP53", "EGFR", "NA", "VHL", "MUT", "IDH1"]


class Study:
    """Raw files in a folder and the description that reads them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        random = np.random.default_rng(0)
        self.clinical = pd.DataFrame(
            {
                "barcode": PATIENTS,
                "status": ["Dead", "Alive"] * 4,
                "death": ["30", "", "60.875", "", "90", "", "120", ""],
                "follow_up": ["", "304.375", "", "10", "", "20", "", "30"],
                "diagnosis": ["a", "b", "a", "b", "a", "b", "other", ""],
                "age": ["50", "61.5", "NA", "70", "44", "38", "55", "66"],
                "sex": ["female", "male"] * 4,
            }
        )
        self.slides = pd.DataFrame(
            {
                "slide": [f"{p}-01Z-00-DX1.svs" for p in PATIENTS[:6]] + [f"{PATIENTS[0]}-01Z-00-DX2.svs"],
                "case": [*PATIENTS[:6], PATIENTS[0]],
                "mpp": ["0.25", "0.5", "", "0.25", "0.25", "0.25", "0.25"],
            }
        )
        samples = [f"{p}-01A" for p in PATIENTS[:7]]
        self.expression = pd.DataFrame(random.normal(5, 1, (len(GENES), 7)).round(3), index=GENES, columns=samples)
        self.mutation = pd.DataFrame(random.integers(0, 2, (7, 3)), index=samples, columns=["TP53", "VHL", "IDH1"])
        self.sets = {"one": ["TP53", "EGFR", "ABSENT"], "two": ["NA", "MUT"], "nothing": ["ABSENT"]}
        self.folds = pd.DataFrame({"id": PATIENTS, "f1": ["Train"] * 6 + ["Test"] * 2, "f2": ["Test"] + ["Train"] * 7})
        self.description: dict[str, Any] = {
            "tables": {
                "clinical": {"path": "{name}/clinical.tsv", "id": "barcode"},
                "slides": {"path": "{name}/slides.csv", "id": "case"},
            },
            "patients": "clinical",
            "survival": {
                "default_endpoint": "OS",
                "endpoints": {
                    "OS": {
                        "time": {"event_column": "death", "censored_column": "follow_up", "unit": "days"},
                        "event": {"column": "status", "event_values": ["Dead"], "censored_values": ["Alive"]},
                    }
                },
            },
            "class_label": {"column": "diagnosis", "ignore": ["other"]},
            "clinical": {"age": "age", "sex": "sex"},
            "molecular": {
                "expression": {
                    "path": "{name}/expression.tsv.gz", "orientation": "genes_in_rows", "sample_types": ["01"],
                    "scale": "log2_tpm_plus_1",
                },
                "mutation": {
                    "path": "{name}/mutation.csv", "orientation": "patients_in_rows", "sample_types": ["01"],
                },
            },
            "slides": {"table": "slides", "id": "slide", "strip_suffix": ".svs", "mpp": "mpp"},
            "pathways": {"path": "sets.gmt", "format": "gmt"},
            "splits": {"mc": {"path": "{name}/folds.csv", "values": {"Train": "train", "Test": "test"}}},
        }  # fmt: skip

    def write(self) -> Path:
        """Write the raw files; returns the description's path."""
        raw = self.folder / "raw" / "toy"
        raw.mkdir(parents=True, exist_ok=True)
        self.clinical.to_csv(raw / "clinical.tsv", sep="\t", index=False)
        self.slides.to_csv(raw / "slides.csv", index=False)
        self.expression.to_csv(
            raw / "expression.tsv.gz", sep="\t", index_label="gene", compression={"method": "gzip", "mtime": 0}
        )
        self.mutation.to_csv(raw / "mutation.csv", index_label="sample")
        self.folds.to_csv(raw / "folds.csv", index=False)
        lines = ["\t".join([name, "", *genes]) for name, genes in self.sets.items()]
        (raw.parent / "sets.gmt").write_text("\n".join(lines) + "\n")
        description = self.folder / "toy.yaml"
        description.write_text(yaml.safe_dump(copy.deepcopy(self.description)))
        return description

    def build(self, output: str = "out", endpoint: str | None = None) -> Path:
        """Import; returns the folder of artefacts."""
        description, out = self.write(), self.folder / output
        build_cohort("toy", description, self.folder / "raw", out, read_gene_sets=read_measured, endpoint=endpoint)
        return out

    def report(self) -> dict[str, Any]:
        """Import and read the report."""
        return json.loads((self.build() / "report.json").read_text())

    def quarantine(self) -> pd.DataFrame:
        """Import and read the quarantine."""
        return pd.read_csv(self.build() / "quarantine.tsv", sep="\t", keep_default_na=False)


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path)


@pytest.fixture
def edit(study: Study) -> Callable[..., Study]:
    """Set a key of the description by its dotted path."""

    def change(path: str, value: Any) -> Study:
        *parents, last = path.split(".")
        place = study.description
        for part in parents:
            place = place[part]
        place[last] = value
        return study

    return change
