"""The published survival intervals and every registry value of the public ModalTune lists."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from pathomix.cohort.importer import build_cohort
from pathomix.core.provenance import Provenance
from pathomix.core.schemas import PATIENTS, SPLITS
from pathomix.core.tables import read_table, write_table
from pathomix.genomics.gene_sets import read_measured
from pathomix.text.bins import survival_bins
from pathomix.text.fields import clean_fields
from pathomix.text.parameters import TextParameters
from pathomix.text.store import TEXTS, StoredTexts
from pathomix.text.write import write_cohort_texts

# spec modaltune 4.2: minimum, quartiles and maximum in months
EDGES = {
    "brca": (0, 14.69, 27.17, 54.96, 282.7),
    "gbmlgg": (0, 8.41, 16.82, 31.18, 211.0),
    "rcc": (0, 16.29, 34.26, 61.73, 168.6),
    "blca": (0, 10.64, 17.61, 30.26, 163.2),
}
LOCATION = {"brca": "breast", "gbmlgg": "brain", "rcc": "kidney", "blca": "bladder urothelial"}


def records(shared_data: Path, cohort: str) -> pd.DataFrame:
    """One row per patient of the three lists, with the part."""
    rows: list[dict[str, Any]] = []
    for part in ("train", "val", "test"):
        path = shared_data / "modaltune_nolicence" / f"tcga_{cohort}" / f"{part}_{cohort}_cls_feat.json.gz"
        with gzip.open(path, "rt") as stream:
            rows += [{**row, "part": part} for row in json.load(stream)["data"]]
    return pd.DataFrame(rows).drop_duplicates("case_submitter_id").set_index("case_submitter_id")


@pytest.mark.parametrize("cohort", EDGES)
def test_published_edges(shared_data: Path, cohort: str) -> None:
    table = records(shared_data, cohort)
    outcome = pd.DataFrame({"time": table["durations"].abs(), "event": table["vital_status"]})
    rules = TextParameters(profile="released").rules
    train = table.index[table["part"] == "train"]
    found = survival_bins(outcome, train, 4, rules, cohort)
    assert found is not None
    np.testing.assert_allclose(found.edges[:4], EDGES[cohort][:4], atol=0.0051)
    assert found.edges[4] == pytest.approx(EDGES[cohort][4], abs=0.051)
    # of the training part they would be others: that is the leak
    clean = survival_bins(outcome, train, 4, {**rules, "bins_from": "train"}, cohort)
    assert clean is not None and np.abs(np.subtract(clean.inner, found.inner)).max() > 0.1


@pytest.mark.parametrize("cohort", EDGES)
def test_registry_values(shared_data: Path, root: Path, tmp_path: Path, cohort: str) -> None:
    content = {
        "tables": {
            "cases": {
                "path": f"modaltune_nolicence/tcga_{cohort}/test_{cohort}_cls_feat.json.gz",
                "records": "data",
                "id": "case_submitter_id",
            }
        },
        "patients": "cases",
        "location": LOCATION[cohort],
        "survival": {
            "default_endpoint": "OS",
            "non_positive": "quarantine",
            "endpoints": {
                "OS": {
                    "time": {"column": "durations", "unit": "months", "days_per_month": 30.44},
                    "event": {"column": "vital_status", "event_values": [1], "censored_values": [0]},
                }
            },
        },
        "clinical": {
            "stage": "ajcc_pathologic_stage",
            **{field: f"ajcc_pathologic_{field}" for field in ("t", "n", "m")},
            "diagnosis": "primary_diagnosis",
        },
    }
    (tmp_path / "d.yaml").write_text(yaml.safe_dump(content))
    build_cohort(cohort, tmp_path / "d.yaml", shared_data, tmp_path, read_gene_sets=read_measured)
    patients = read_table(tmp_path / "patients.parquet", PATIENTS)
    raw = records(shared_data, cohort).query("part == 'test'")
    assert len(patients) == len(raw)
    splits = pd.DataFrame({"fold": 0, "patient_id": patients["patient_id"], "part": "train"})
    splits.loc[splits.index % 4 == 0, "part"] = "test"
    write_table(splits, SPLITS, tmp_path / "s.parquet", Provenance("splits"))
    files = (tmp_path / "t.parquet", tmp_path / "t.safetensors", tmp_path / "t.tsv")
    wording = root / "resources" / "prompts.yaml"
    write_cohort_texts(cohort, tmp_path / "patients.parquet", tmp_path / "s.parquet", wording, {}, *files)
    assert StoredTexts([files[0]], 0).patient_ids == set(patients["patient_id"])
    texts = read_table(files[0], TEXTS).set_index(["patient_id", "text_task"])
    general = texts["prompt"].xs("general", level="text_task")
    assert general.str.startswith(f"cancer location: {LOCATION[cohort]}; cancer diagnosis: ").all()
    has_stage = raw["ajcc_pathologic_stage"].notna().reindex(general.index)
    assert (general.str.contains("overall stage: stage ") == has_stage).all()
    known = patients.set_index("patient_id")["time"].notna().reindex(general.index)
    assert (general.str.contains("survival status: patient ") == known).all()


def test_no_value_of_the_lists_is_dropped(shared_data: Path) -> None:
    """Counts taken from the lists by value; no value is dropped."""
    frames = []
    for cohort in EDGES:
        table = records(shared_data, cohort)
        frames.append(
            pd.DataFrame(
                {
                    "time": table["durations"],
                    "event": table["vital_status"],
                    "stage": table["ajcc_pathologic_stage"],
                    **{f"clinical_{f}": table[f"ajcc_pathologic_{f}"] for f in ("t", "n", "m")},
                    "clinical_diagnosis": table["primary_diagnosis"],
                }
            )
        )
    _, table = clean_fields(pd.concat(frames))
    assert not (table["outcome"] == "dropped").any()
    counts = table[table["outcome"] == "kept"].groupby(["field", "cleaned"])["patients"].sum()
    assert counts["n", "N0"] == 323 + 149 + 25 + 1 + 324 + 222
    assert counts["m", "M0"] == 866 + 6 + 532 + 176
    assert counts["stage", "II"] == 347 + 246 + 5 + 111 + 121 and counts["stage", "X"] == 12
    assert counts["t", "T0"] == 1 and counts["diagnosis", "glioblastoma"] == 389
