"""The guard on real splits: those by slide leak patients, those by patient pass."""

from __future__ import annotations

import gzip
from pathlib import Path

import pandas as pd
import pytest

from pathomix.cohort.cases import Cases
from pathomix.cohort.given_splits import GIVEN_SPLITS
from pathomix.cohort.importer import build_cohort
from pathomix.cohort.loader import load_cases
from pathomix.core.tables import read_table
from pathomix.evaluate.leakage import NORMAL, PATIENT, LeakageError, check_split, guard
from pathomix.genomics.gene_sets import read_measured

# Patients of fold 0 in both the training and the test part, counted in the data's README.
BOTH_SIDES = {"tcga_lung": 7, "tcga_kidney": 4}
# Slides whose barcode says 11, normal tissue (TCGA-UW-A7GC-11Z-00-DX1 and others): found by the guard.
NORMAL_SLIDES = {"tcga_lung": 0, "tcga_kidney": 12}


def hipt_split(shared_data: Path, name: str, fold: int) -> pd.DataFrame:
    """SPLITS rows by slide, as published."""
    path = shared_data / "hipt" / "splits" / "10foldcv_subtype" / name / f"splits_{fold}.csv.gz"
    with gzip.open(path, "rt") as stream:
        table = pd.read_csv(stream, index_col=0)
    rows = table.rename(columns={"val": "valid"}).melt(var_name="part", value_name="patient_id").dropna()
    return rows.assign(fold=fold)


@pytest.mark.parametrize("name", BOTH_SIDES)
def test_the_published_splits_by_slide_leak_patients(shared_data: Path, name: str) -> None:
    split = hipt_split(shared_data, name, 0)
    cases = Cases(pd.DataFrame(index=pd.Index(split["patient_id"].unique(), name="patient_id")))
    with pytest.raises(LeakageError) as error:
        check_split(cases, split, where=f"{name}, fold 0")
    found = {finding.leak: finding.ids for finding in error.value.findings}
    assert len(found.get(NORMAL, ())) == NORMAL_SLIDES[name]
    assert all("-11Z-00-DX1" in slide for slide in found.get(NORMAL, ()))
    assert set(found) <= {PATIENT, NORMAL}
    both = [text for text in found[PATIENT] if "in train" in text and "in test" in text]
    assert len(both) == BOTH_SIDES[name]
    train = set(split.loc[split["part"] == "train", "patient_id"].str[:12])
    test = set(split.loc[split["part"] == "test", "patient_id"].str[:12])
    assert {text[1:13] for text in both} == train & test


@pytest.mark.parametrize("name", BOTH_SIDES)
def test_without_these_patients_and_slides_they_pass(shared_data: Path, name: str) -> None:
    split = hipt_split(shared_data, name, 0)
    patient = split["patient_id"].str[:12]
    sides = split.groupby(patient)["part"].transform("nunique")
    cases = Cases(pd.DataFrame(index=pd.Index(split["patient_id"].unique(), name="patient_id")))
    check_split(cases, split[(sides == 1) & ~split["patient_id"].str.contains("-11Z-")])


@pytest.mark.parametrize("name", ["porpoise_gbmlgg", "porpoise_kirc"])
def test_published_splits_by_patient_pass(root: Path, shared_data: Path, tmp_path: Path, name: str) -> None:
    description = root / "config" / "cohorts" / f"{name}.yaml"
    build_cohort(name, description, shared_data, tmp_path, read_gene_sets=read_measured)
    splits = read_table(tmp_path / "given_splits.parquet", GIVEN_SPLITS)
    cases = load_cases(tmp_path)
    assert cases.expression is not None
    for _, split in splits.groupby("set"):
        guard(cases, split, where=name, slides=tmp_path / "slides.parquet")
    # the same profile under a patient of the other side
    splits = splits[splits["set"] == splits["set"].iloc[0]]
    fold = splits[splits["fold"] == 0].set_index("patient_id")["part"]
    measured = [p for p in fold.index if p in cases.expression.index]
    train = next(p for p in measured if fold[p] == "train")
    test = next(p for p in measured if fold[p] == "test")
    cases.expression.loc[test] = cases.expression.loc[train].to_numpy()
    with pytest.raises(LeakageError, match=rf"expression are equal.*{test}"):
        guard(cases, splits, where=name)
