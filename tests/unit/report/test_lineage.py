"""Lineage: from a run index by content hash to the sources, whatever the format, and honest about what is not there."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from safetensors.numpy import save_file

from pathomix.core.files import file_digest
from pathomix.core.provenance import METADATA_KEY, Provenance
from pathomix.core.schemas import SPLITS
from pathomix.core.tables import write_table
from pathomix.core.units import split_key
from pathomix.report.lineage import Lineage, read_any

SPLIT = pd.DataFrame({"fold": [0, 0], "patient_id": ["P1", "P2"], "part": ["train", "test"]})


@pytest.fixture
def results(tmp_path):
    root = tmp_path / "results"
    (root / "raw").mkdir(parents=True)
    (root / "raw/clinical.tsv").write_text("a\tb\n")
    (root / "locks").mkdir()
    header = "file_id\tfile_name\tmd5\n"
    (root / "locks/north.slides.tsv").write_text(header + "1\tS1.svs\taaa\n2\tS2.svs\tbbb\n")
    data = AnnData(np.zeros((1, 1)))
    inputs = {"clinical": root / "raw/clinical.tsv", "lock": root / "locks/north.slides.tsv"}
    data.uns[METADATA_KEY] = Provenance.of("expression", inputs).to_json()
    (root / "cohort").mkdir()
    data.write_h5ad(root / "cohort/expression.h5ad")
    (root / "splits").mkdir()
    write_table(SPLIT, SPLITS, root / "splits/cv.parquet", Provenance.of("splits", {"raw": root / "raw/clinical.tsv"}))
    return root


def test_inputs_are_followed_to_the_sources_nearest_first_and_each_once(results):
    lineage = Lineage.gather(results)
    inputs = {"expression.h5ad": file_digest(results / "cohort/expression.h5ad"), "splits": split_key(SPLIT)}
    steps = lineage.trace(inputs)
    paths = [step.artefact.path for step in steps]
    assert paths == [
        "cohort/expression.h5ad",
        "splits/cv.parquet",
        "raw/clinical.tsv",
        "locks/north.slides.tsv",
    ]
    assert [step.artefact.artifact for step in steps] == ["expression", "splits", "", ""]
    assert steps[3].artefact.md5 == {"S1.svs": "aaa", "S2.svs": "bbb"}
    assert steps[2].digest == file_digest(results / "raw/clinical.tsv")


def test_what_is_not_there_or_has_changed_is_a_step_without_a_file(results):
    digest = file_digest(results / "cohort/expression.h5ad")
    (results / "raw/clinical.tsv").write_text("changed\n")
    steps = Lineage.gather(results).trace({"expression.h5ad": digest})
    assert [(step.name, step.artefact is None) for step in steps] == [
        ("expression.h5ad", False),
        ("clinical", True),
        ("lock", False),
    ]


def test_pins_tell_where_a_source_was_fetched(results, tmp_path):
    digest = file_digest(results / "raw/clinical.tsv")
    folder = tmp_path / "kept"
    folder.mkdir()
    pin = f"clinical.tsv:\n  url: host/clinical.tsv\n  size: 4\n  sha256: {digest}\n"
    (folder / "pins.yaml").write_text(pin)
    (folder / "description.yaml").write_text("a: 1\n")
    (folder / "gdc").mkdir()
    for name in ("gdc/S1.txt", "S2.svs"):
        (folder / name).write_text(f"slide {name}")
    lineage = Lineage.gather(results, [folder])
    assert lineage.artefacts[digest].origin == "host/clinical.tsv"
    paths = {one.path for one in lineage.artefacts.values()}
    assert (folder / "description.yaml").as_posix() in paths and not any("gdc" in p or "svs" in p for p in paths)


def test_folders_of_runs_and_slides_are_not_hashed(results):
    skipped = ("slides/S1/a.parquet", "runs/s/m/c/cv-0/seed0/predictions.parquet", "logs/a.log", "features/e/S1.h5")
    for name in skipped:
        path = results / name
        path.parent.mkdir(parents=True)
        path.write_text(name)
    (results / "features/e.parquet").write_text("not parquet")
    paths = {one.path for one in Lineage.gather(results).artefacts.values()}
    assert not paths & set(skipped) and "features/e.parquet" in paths


def test_every_format_carries_its_provenance_and_damage_makes_a_source(tmp_path):
    lineage = Provenance("thing", inputs={"a": "b"}, parameters={"code": "c0de"})
    (tmp_path / "a.json").write_text(json.dumps({"provenance": lineage.to_dict()}))
    save_file({"x": np.zeros(1)}, tmp_path / "a.safetensors", metadata={METADATA_KEY: lineage.to_json()})
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs[METADATA_KEY] = lineage.to_json()
    write_table(SPLIT, SPLITS, tmp_path / "a.parquet", lineage)
    names = ("a.json", "a.safetensors", "a.h5", "a.parquet")
    assert [read_any(tmp_path / name) for name in names] == [lineage] * 4
    for name in names:
        (tmp_path / name).write_bytes(b"\xff\xff\xff\xff\xff\xff\xff\x7f{}")
    (tmp_path / "list.json").write_text("[1]")
    assert [read_any(tmp_path / name) for name in (*names, "list.json", "a.txt")] == [None] * 6
