from __future__ import annotations

import hashlib
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

from pathomix.core.barcodes import patient_barcode, sample_type
from pathomix.core.tables import read_provenance
from pathomix.simulate import expression
from pathomix.simulate.genes import GENES, PATHWAYS
from pathomix.simulate.parameters import Parameters
from pathomix.simulate.patients import STAGES
from pathomix.simulate.tables import write_simulation

COHORTS = ("sim_a", "sim_b", "sim_c")


def digests(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_same_parameters_same_bytes(simulation: Path, small: Parameters, tmp_path: Path) -> None:
    write_simulation(small, tmp_path)
    assert digests(tmp_path) == digests(simulation)


def test_another_seed_changes_every_table(simulation: Path, small: Parameters, tmp_path: Path) -> None:
    write_simulation(Parameters.from_dict({**small.to_dict(), "seed": small.seed + 1}), tmp_path)
    old, new = digests(simulation), digests(tmp_path)
    assert {name for name in old if old[name] == new[name]} == {"gene_sets.gmt"}


@pytest.mark.parametrize("cohort", COHORTS)
def test_clinical_table(simulation: Path, cohort: str) -> None:
    clinical = pd.read_csv(simulation / cohort / "clinical.tsv", sep="\t", dtype=str, keep_default_na=False)
    truth = pd.read_parquet(simulation / cohort / "truth.parquet").set_index("patient_id")
    dead = clinical["vital_status"] == "Dead"
    assert set(clinical["vital_status"]) == {"Dead", "Alive"}
    assert (clinical.loc[dead, "days_to_last_follow_up"] == "").all()
    assert (clinical.loc[~dead, "days_to_death"] == "").all()
    days = np.where(dead, clinical["days_to_death"], clinical["days_to_last_follow_up"]).astype(int)
    assert days.min() >= 1
    np.testing.assert_allclose(days / 30.4375, truth.loc[clinical["bcr_patient_barcode"], "time"])
    assert set(clinical["ajcc_pathologic_stage"]) <= {*STAGES, ""}
    assert set(clinical["gender"]) == {"male", "female"}


@pytest.mark.parametrize("cohort", COHORTS)
def test_molecular_tables_have_extra_samples_and_miss_patients(simulation: Path, cohort: str) -> None:
    patients = set(pd.read_parquet(simulation / cohort / "truth.parquet")["patient_id"])
    tables = {
        name: pd.read_csv(simulation / cohort / f"{name}.tsv.gz", sep="\t", index_col="gene")
        for name in ("expression", "copy_number", "mutation")
    }
    for name, table in tables.items():
        kinds = table.columns.map(sample_type)
        assert not table.isna().any().any() and table.columns.is_unique and table.index.is_unique
        found = {patient_barcode(c) for c in table.columns[kinds == "01"]}
        assert found < patients, f"{name}: every patient is measured"
        assert ("11" in set(kinds)) == (name == "expression")
    columns = tables["expression"].columns
    assert list(tables["expression"].index) == list(GENES) == list(tables["copy_number"].index)
    assert any(c.endswith("-01B") for c in columns) and columns.str.endswith("-01A").sum() > 0.7 * len(columns)
    assert tables["expression"].to_numpy().min() >= 0
    assert set(np.unique(tables["copy_number"])) <= {-2, -1, 0, 1, 2}
    assert set(np.unique(tables["mutation"])) == {0, 1}


@pytest.mark.parametrize("cohort", COHORTS)
def test_slide_table(simulation: Path, cohort: str) -> None:
    slides = pd.read_csv(simulation / cohort / "slides.tsv", sep="\t")
    patients = set(pd.read_parquet(simulation / cohort / "truth.parquet")["patient_id"])
    assert slides["slide_id"].is_unique and slides["slide_id"].str.endswith("DX2").any()
    assert len(patients - set(slides["bcr_patient_barcode"])) == 2
    assert (slides["file_name"] == slides["slide_id"] + ".tiff").all()


@pytest.mark.parametrize("cohort", COHORTS)
def test_truth(simulation: Path, cohort: str, small: Parameters) -> None:
    truth = pd.read_parquet(simulation / cohort / "truth.parquet")
    names = [f"composition_{name.replace(' ', '_')}" for name in expression.TYPES]
    np.testing.assert_allclose(truth[names].sum(axis=1), 1)
    patterns = [c for c in truth if c.startswith("pattern_")]
    assert len(patterns) == len(small.cohorts[cohort].classes)
    np.testing.assert_allclose(truth[patterns].sum(axis=1), 1)
    assert truth["extent"].between(*small.slides.extent).all()
    assert set(truth["class"].dropna()) == set(small.cohorts[cohort].classes)
    stored = read_provenance(simulation / cohort / "truth.parquet")
    assert stored.artifact == "simulated_truth" and stored.parameters["seed"] == small.seed


def test_gene_sets_and_atlas(simulation: Path) -> None:
    lines = [line.split("\t") for line in (simulation / "gene_sets.gmt").read_text().splitlines()]
    assert {name: tuple(genes) for name, _, *genes in lines} == PATHWAYS
    atlas = anndata.read_h5ad(simulation / "atlas.h5ad")
    assert atlas.shape == (400, len(GENES)) and list(atlas.var_names) == list(GENES)
    assert list(atlas.obs["cell_type"].cat.categories) == list(expression.TYPES)
    assert atlas.obs["donor"].nunique() == 6
    counts = atlas.X.toarray()
    assert (counts == np.round(counts)).all() and counts.min() == 0
