from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pathomix.cohort.given_splits import GIVEN_SPLITS
from pathomix.cohort.loader import load_cases
from pathomix.cohort.matrices import write_alterations, write_expression
from pathomix.cohort.union import unite_cohorts, unite_splits
from pathomix.core.errors import PathomixError
from pathomix.core.files import write_json, write_text
from pathomix.core.provenance import Provenance
from pathomix.core.schemas import PATIENTS, SLIDES, SPLITS
from pathomix.core.tables import read_table, write_table

LINEAGE = Provenance("test")


def member(folder: Path, ids: list[str], genes: list[str], *, scale: str = "log2", endpoint: str = "OS") -> Path:
    patients = {"patient_id": ids, "time": 1.0, "event": 1, "endpoint": endpoint, "class_label": folder.name + "-x"}
    absent = dict.fromkeys(("tissue_source_site", "age", "sex", "stage", "grade"))
    write_table(pd.DataFrame({**patients, **absent}), PATIENTS, folder / "patients.parquet", LINEAGE)
    slides = pd.DataFrame({"slide_id": [f"{i}-S" for i in ids], "patient_id": ids, "path": "p"})
    slides = slides.assign(md5=None, size=None, mpp=None)
    write_table(slides, SLIDES, folder / "slides.parquet", LINEAGE)
    values = np.arange(len(ids) * len(genes), dtype=np.float32).reshape(len(ids), -1)
    frame = pd.DataFrame(values, index=pd.Index(ids), columns=genes)
    write_expression(folder / "expression.h5ad", frame, scale, LINEAGE)
    write_alterations(folder / "alterations.h5ad", None, frame.iloc[:, :1] > 1, LINEAGE)
    write_json(folder / "pathways.json", {"pathways": {"p": genes, "own": genes[-1:]}})
    given = pd.DataFrame({"set": "s", "fold": 0, "patient_id": ids, "part": "train"})
    write_table(given, GIVEN_SPLITS, folder / "given_splits.parquet", LINEAGE)
    write_text(folder / "quarantine.tsv", "patient_id\tfile\treason\n")
    write_json(folder / "report.json", {})
    return folder


def test_rows_of_all_members_and_genes_they_share(tmp_path: Path) -> None:
    a = member(tmp_path / "a", ["P1", "P2"], ["G1", "G2", "G3"])
    b = member(tmp_path / "b", ["Q1"], ["G2", "G3", "G4"])
    unite_cohorts("both", {"a": a, "b": b}, tmp_path / "both")
    cases = load_cases(tmp_path / "both")
    assert list(cases.ids) == ["P1", "P2", "Q1"]
    assert cases.patients["class_label"].tolist() == ["a", "a", "b"], "the class of a union is the member"
    assert cases.patients["clinical_class_label"].tolist() == ["a-x", "a-x", "b-x"]
    assert cases.expression is not None and list(cases.expression.columns) == ["G2", "G3"]
    np.testing.assert_array_equal(cases.expression.to_numpy(), [[1, 2], [4, 5], [0, 1]])
    assert cases.pathways == {"p": ("G2", "G3"), "own": ("G3",)}
    report = json.loads((tmp_path / "both/report.json").read_text())
    assert report["warnings"] == [
        "expression: 2 of 4 genes are not in all members and are left out",
        "mutation: 2 of 2 genes are not in all members and are left out",
    ]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"ids": ["P2"]}, "in more than one of the cohorts a, b: P2"),
        ({"genes": ["X", "Y", "Z"]}, "members share 0 of 6 genes"),
        ({"scale": "zscore"}, r"different expression scales \(a: log2, b: zscore\)"),
        ({"endpoint": "DSS"}, "different survival endpoints"),
    ],
)
def test_members_that_cannot_be_united(tmp_path: Path, other: dict[str, object], message: str) -> None:
    a = member(tmp_path / "a", ["P1", "P2"], ["G1", "G2", "G3"])
    b = member(tmp_path / "b", **{"ids": ["Q1"], "genes": ["G1", "G2", "G3"], **other})  # type: ignore[arg-type]
    with pytest.raises(PathomixError, match=message):
        unite_cohorts("both", {"a": a, "b": b}, tmp_path / "both")
    assert not (tmp_path / "both").exists(), "nothing is written of a union that is refused"


def splits(path: Path, parts: dict[str, str], folds: int = 2) -> Path:
    rows = [(fold, patient, part) for fold in range(folds) for patient, part in parts.items()]
    write_table(pd.DataFrame(rows, columns=["fold", "patient_id", "part"]), SPLITS, path, LINEAGE)
    return path


def test_patients_keep_their_part_in_every_fold(tmp_path: Path) -> None:
    a = splits(tmp_path / "a.parquet", {"P1": "train", "P2": "test"})
    b = splits(tmp_path / "b.parquet", {"Q1": "valid"})
    cohort = {"a": member(tmp_path / "a", ["P1", "P2"], ["G1"]), "b": member(tmp_path / "b", ["Q1"], ["G1"])}
    unite_cohorts("both", cohort, tmp_path / "both")
    unite_splits("both", {"a": a, "b": b}, tmp_path / "both" / "patients.parquet", tmp_path / "both.parquet")
    audit = json.loads((tmp_path / "both.audit.json").read_text())
    assert audit["name"] == "both" and audit["folds"][1]["parts"]["test"]["classes"] == {"a": 1}
    united = read_table(tmp_path / "both.parquet", SPLITS)
    assert len(united) == 6
    assert dict(zip(united["patient_id"], united["part"], strict=True)) == {"P1": "train", "P2": "test", "Q1": "valid"}
    one_fold = splits(tmp_path / "c.parquet", {"Q1": "valid"}, folds=1)
    with pytest.raises(PathomixError, match="different folds"):
        unite_splits(
            "other", {"a": a, "c": one_fold}, tmp_path / "both" / "patients.parquet", tmp_path / "other.parquet"
        )
