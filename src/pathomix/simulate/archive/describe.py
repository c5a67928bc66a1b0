"""Describes the raw files of the simulator as an archive."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import pandas as pd

from pathomix.core.barcodes import sample_type
from pathomix.core.errors import PathomixError
from pathomix.core.files import file_digest, write_json, write_text
from pathomix.simulate.archive.description import FILE, stable_id

DATA_FORMAT = "TIFF"
_DATE = "Thu, 01 Jan 2026 00:00:00 GMT"
_SAMPLE_TYPES = {"01": "Primary Tumor", "11": "Solid Tissue Normal"}
_DAYS_PER_YEAR = 365.25

# Raw table of a cohort to its path on Xena, {X} the cohort's name there.
_XENA = {
    "expression.tsv.gz": "TCGA.{X}.sampleMap/HiSeqV2.gz",
    "copy_number.tsv.gz": "TCGA.{X}.sampleMap/Gistic2_CopyNumber_Gistic2_all_thresholded.by_genes.gz",
    "mutation.tsv.gz": "mc3_gene_level/{X}_mc3_gene_level.txt.gz",
}


def describe_simulation(raw: Path, output: Path, cohorts: Sequence[str] | None = None) -> None:
    """Describe the simulator's raw folder as an archive; the truth in it is not handed out.

    Args:
        raw: Folder written by the simulator, slides included.
        output: Folder for ``archive.json`` and the survival tables of the archive.
        cohorts: Cohorts to hold; default: every folder with a clinical table.

    Raises:
        PathomixError: A table or a slide is absent.
    """
    names = sorted(cohorts or (path.parent.name for path in raw.glob("*/clinical.tsv")))
    if not names:
        raise PathomixError(f"{raw}: no cohort in it", remedy="run workflow_scripts/simulate_tables.py first")
    content: dict[str, Any] = {
        "data_release": "Simulated Data Release 1.0",
        "date": _DATE,
        "root": os.path.relpath(raw, output),
        "projects": [],
        "files": [],
        "cases": [],
        "datasets": {},
        "tables": {},
        "atlases": [],
    }
    for name in names:
        _add_cohort(raw, output, name, content)
    for extra in ("gene_sets.gmt", "atlas.h5ad"):
        if (raw / extra).is_file():
            content["datasets"][extra] = extra
    if (raw / "atlas.h5ad").is_file():
        content["atlases"].append(_atlas(raw, "atlas.h5ad"))
    write_json(output / FILE, content)


def project_id(cohort: str) -> str:
    """Project of a simulated cohort: ``sim_a`` is ``SIM-A``."""
    return cohort.upper().replace("_", "-")


def _add_cohort(raw: Path, output: Path, name: str, content: dict[str, Any]) -> None:
    project, xena = project_id(name), name.upper()
    content["projects"].append({"id": project, "project_id": project, "name": f"Simulated cohort {name}"})
    clinical = _table(raw / name / "clinical.tsv")
    slides = _table(raw / name / "slides.tsv")
    for table in ("clinical.tsv", "slides.tsv"):
        content["datasets"][f"{name}/{table}"] = f"{name}/{table}"
    for table, dataset in _XENA.items():
        if (raw / name / table).is_file():
            content["datasets"][f"{name}/{table}"] = f"{name}/{table}"
            content["datasets"][dataset.format(X=xena)] = f"{name}/{table}"
    survival = output / "survival" / f"{xena}_survival.txt"
    write_text(survival, _survival(clinical).to_csv(sep="\t", index=False, lineterminator="\n"))
    content["tables"][f"survival/{xena}_survival.txt"] = f"survival/{survival.name}"
    sampled = slides.groupby("bcr_patient_barcode")["slide_id"].agg(lambda ids: sorted({i[:16] for i in ids}))
    content["cases"] += [_case(row, project, sampled.get(row["bcr_patient_barcode"], [])) for row in _records(clinical)]
    known = _known_digests(raw / name)
    content["files"] += [_file(raw, row, project, known) for row in _records(slides)]


def _table(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise PathomixError(f"{path} is absent", remedy="run workflow_scripts/simulate_tables.py first")
    return pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)


def _records(table: pd.DataFrame) -> list[dict[str, str]]:
    return [dict(zip(table.columns, row, strict=True)) for row in table.itertuples(index=False)]


def _known_digests(folder: Path) -> dict[str, tuple[str, int]]:
    """Digest and size of slides, from the index tables of the shards that made them."""
    tables = [_table(path) for path in sorted(folder.glob("slides-*.tsv"))]
    return {row["slide_id"]: (row["md5"], int(row["size"])) for t in tables for row in _records(t)}


def _file(raw: Path, row: dict[str, str], project: str, known: dict[str, tuple[str, int]]) -> dict[str, Any]:
    """A document of the files endpoint."""
    slide, patient, name = row["slide_id"], row["bcr_patient_barcode"], row["file_name"]
    path = raw / "slides" / name
    if not path.is_file():
        raise PathomixError(f"{path} is absent", remedy="run workflow_scripts/simulate_slides.py first")
    size = path.stat().st_size
    md5, noted = known.get(slide, ("", -1))
    identity = stable_id(project, "file", name, md5 := md5 if noted == size else file_digest(path, "md5"))
    return {
        "id": identity,
        "file_id": identity,
        "file_name": name,
        "md5sum": md5,
        "file_size": size,
        "data_format": DATA_FORMAT,
        "data_type": "Slide Image",
        "data_category": "Biospecimen",
        "experimental_strategy": "Diagnostic Slide",
        "access": "open",
        "state": "released",
        "path": f"slides/{name}",
        "cases": [
            {
                "case_id": stable_id(project, "case", patient),
                "submitter_id": patient,
                "project": {"project_id": project},
                "samples": [_sample(project, slide[:16])],
            }
        ],
    }


def _sample(project: str, barcode: str) -> dict[str, str]:
    kind = _SAMPLE_TYPES.get(sample_type(barcode) or "", "Not Reported")
    return {"sample_id": stable_id(project, "sample", barcode), "submitter_id": barcode, "sample_type": kind}


def _case(row: dict[str, str], project: str, samples: Sequence[str]) -> dict[str, Any]:
    """A document of the cases endpoint; what is not known is left out."""
    patient = row["bcr_patient_barcode"]
    identity = stable_id(project, "case", patient)
    years = row["age_at_diagnosis_years"]
    diagnosis = {
        "diagnosis_id": stable_id(project, "diagnosis", patient),
        "age_at_diagnosis": round(float(years) * _DAYS_PER_YEAR) if years else None,
        "primary_diagnosis": row["primary_diagnosis"],
        "ajcc_pathologic_stage": row["ajcc_pathologic_stage"],
        "tumor_grade": row["neoplasm_histologic_grade"],
        "days_to_last_follow_up": _days(row["days_to_last_follow_up"]),
    }
    demographic = {
        "gender": row["gender"],
        "vital_status": row["vital_status"],
        "days_to_death": _days(row["days_to_death"]),
    }
    return {
        "id": identity,
        "case_id": identity,
        "submitter_id": patient,
        "project": {"project_id": project},
        "primary_site": "Simulated gland",
        "demographic": {key: value for key, value in demographic.items() if value not in (None, "")},
        "diagnoses": [{key: value for key, value in diagnosis.items() if value not in (None, "")}],
        "samples": [_sample(project, barcode) for barcode in samples],
    }


def _days(text: str) -> int | None:
    return int(text) if text else None


def _survival(clinical: pd.DataFrame) -> pd.DataFrame:
    """Xena's survival table: overall survival; the simulator knows no other endpoint."""
    dead = clinical["vital_status"] == "Dead"
    columns = {
        "sample": clinical["bcr_patient_barcode"] + "-01",
        "_PATIENT": clinical["bcr_patient_barcode"],
        "OS": dead.astype(int),
        "OS.time": clinical["days_to_death"].where(dead, clinical["days_to_last_follow_up"]),
    }
    blank = [f"{endpoint}{part}" for endpoint in ("DSS", "DFI", "PFI") for part in ("", ".time")]
    return pd.DataFrame({**columns, **dict.fromkeys([*blank, "Redaction"], "")})


def _atlas(raw: Path, name: str) -> dict[str, Any]:
    path = raw / name
    with h5py.File(path, "r") as store:
        obs = store["obs"]
        cells = int(obs[obs.attrs["_index"]].shape[0])
    return {
        "dataset_id": stable_id("atlas", name),
        "dataset_version_id": stable_id("atlas", name, file_digest(path)),
        "title": "Simulated cell atlas",
        "cell_count": cells,
        "citation": "pathomix simulator",
        "path": name,
        "filesize": path.stat().st_size,
    }
