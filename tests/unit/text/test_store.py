from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pathomix.core.errors import PathomixError
from pathomix.core.provenance import Provenance
from pathomix.core.schemas import PATIENTS, SPLITS
from pathomix.core.tables import read_provenance, read_table, write_table
from pathomix.core.texts import TEXT_TASKS, TextStore
from pathomix.text.hashing import HashingEncoder
from pathomix.text.store import TEXTS, StoredTexts
from pathomix.text.write import write_cohort_texts

Write = Callable[..., Path]


@pytest.fixture
def write(patients: pd.DataFrame, splits: pd.DataFrame, wording_path: Path, tmp_path: Path) -> Write:
    """Write texts of the small cohort; `prefix` renames its patients."""

    def run(name: str = "toy", prefix: str = "", **parameters: object) -> Path:
        folder = tmp_path / name
        table = patients.reset_index().assign(patient_id=lambda f: prefix + f["patient_id"])
        write_table(table, PATIENTS, folder / "patients.parquet", Provenance("patients"))
        renamed = splits.assign(patient_id=prefix + splits["patient_id"])
        write_table(renamed, SPLITS, folder / "splits.parquet", Provenance("splits"))
        out = folder / "text" / "cv.parquet"
        files = (out, out.with_suffix(".safetensors"), folder / "cleaning.tsv")
        write_cohort_texts(
            name,
            folder / "patients.parquet",
            folder / "splits.parquet",
            wording_path,
            {"width": 64, **parameters},
            *files,
        )
        return out

    return run


def test_embeddings_are_those_of_the_prompts(write: Write) -> None:
    path = write()
    table = read_table(path, TEXTS)
    encoder = HashingEncoder(64)
    for fold in (0, 1):
        store: TextStore = StoredTexts([path], fold)
        prompts = table[table["fold"] == fold].set_index(["patient_id", "text_task"])["prompt"]
        assert store.dim == 64 and store.patient_ids == set(table["patient_id"])
        for patient in store.patient_ids:
            expected = encoder.encode([prompts[patient, task] for task in TEXT_TASKS])
            np.testing.assert_array_equal(store.embedding(patient), expected)


def test_each_distinct_prompt_is_embedded_once(write: Write, monkeypatch) -> None:
    seen: list[str] = []
    encode = HashingEncoder.encode
    monkeypatch.setattr(HashingEncoder, "encode", lambda self, texts: seen.extend(texts) or encode(self, texts))
    table = read_table(write(), TEXTS)
    assert len(seen) == len(set(seen)) == table["prompt"].nunique() < len(table) / 3
    assert table["row"].max() == len(seen) - 1


def test_the_same_bytes_again_and_what_they_carry(write: Write, tmp_path: Path) -> None:
    first = write()
    contents = [file.read_bytes() for file in (first, first.with_suffix(".safetensors"), tmp_path / "toy/cleaning.tsv")]
    second = write("toy", weights=None)
    again = [second, second.with_suffix(".safetensors"), tmp_path / "toy/cleaning.tsv"]
    assert [file.read_bytes() for file in again] == contents
    lineage = read_provenance(first)
    assert lineage.parameters["encoder"] == {
        "id": "hashing width=64 seed=0", "digest": HashingEncoder(64).digest, "dim": 64,
    }  # fmt: skip
    assert lineage.parameters["profile"] == "recommended" and lineage.parameters["edges"]["0"] == [15.0, 24.0, 39.0]
    assert set(lineage.inputs) == {"patients", "splits", "wording", "embeddings"}
    assert str(tmp_path) not in lineage.to_json()
    cleaning = pd.read_csv(tmp_path / "toy/cleaning.tsv", sep="\t", keep_default_na=False)
    assert list(cleaning) == ["field", "raw", "cleaned", "outcome", "patients"]


def test_a_union_of_cohorts(write: Write) -> None:
    one, two = write("one"), write("two", prefix="X")
    store = StoredTexts([one, two], 1)
    assert len(store.patient_ids) == 2 * len(StoredTexts([one], 1).patient_ids)
    np.testing.assert_array_equal(store.embedding("XP01"), StoredTexts([two], 1).embedding("XP01"))


def test_unions_that_cannot_be(write: Write) -> None:
    one, again, wide, seeded = write("one"), write("again"), write("w", "W", width=32), write("s", "S", seed=1)
    with pytest.raises(
        PathomixError, match=r"again/text/cv.parquet: patients also have texts in .*one/text/cv.parquet: C01"
    ):
        StoredTexts([one, again], 0)
    with pytest.raises(PathomixError, match=r"two encoders: .*one/.*width 64.*w/text/cv.parquet \(.*width 32\)"):
        StoredTexts([one, wide], 0)
    with pytest.raises(PathomixError, match=r"two encoders: .*seed=0.*seed=1"):
        StoredTexts([one, seeded], 0)
    with pytest.raises(PathomixError, match="no text files"):
        StoredTexts([], 0)


def test_a_patient_about_whom_nothing_is_known(write: Write, patients: pd.DataFrame) -> None:
    patients.loc["P03", "clinical_location"] = None
    path = write()
    assert read_table(path, TEXTS).query("patient_id == 'P03'")[["prompt", "row"]].isna().all(axis=None)
    store = StoredTexts([path], 0)
    assert "P03" not in store.patient_ids and store.missing == {
        "P03": "no field of the text general, diagnosis, stage, survival is known"
    }
    with pytest.raises(PathomixError, match=r"no field of the text general.*P03; ask `patient_ids` first"):
        store.embedding("P03")
    with pytest.raises(PathomixError, match=r"not in the split.*GHOST"):
        store.embedding("GHOST")


def test_damaged_files(write: Write) -> None:
    path = write()
    with pytest.raises(PathomixError, match="no fold 7"):
        StoredTexts([path], 7)
    other = write("other", prefix="X", seed=3)
    vectors = path.with_suffix(".safetensors")
    vectors.write_bytes(other.with_suffix(".safetensors").read_bytes())
    with pytest.raises(PathomixError, match=r"not the file that cv\.parquet was written with"):
        StoredTexts([path], 0)
    vectors.unlink()
    with pytest.raises(PathomixError, match=r"text files are missing: .*cv.safetensors"):
        StoredTexts([path], 0)


def test_the_returned_vectors_are_the_callers(write: Write) -> None:
    store = StoredTexts([write()], 0)
    store.embedding("P01")[:] = 0
    np.testing.assert_allclose(np.linalg.norm(store.embedding("P01"), axis=1), 1, atol=1e-6)


def test_files_that_do_not_lie_beside_each_other(write: Write, wording_path: Path, tmp_path: Path) -> None:
    write()
    inputs = (tmp_path / "toy/patients.parquet", tmp_path / "toy/splits.parquet", wording_path)
    with pytest.raises(PathomixError, match="does not lie beside"):
        write_cohort_texts("toy", *inputs, {}, tmp_path / "a.parquet", tmp_path / "b.safetensors", tmp_path / "c.tsv")


def test_the_script(write: Write, root: Path, tmp_path: Path) -> None:
    expected = write()
    command = [
        sys.executable, str(root / "workflow_scripts/write_texts.py"), "--name", "toy",
        "--patients", str(tmp_path / "toy/patients.parquet"), "--splits", str(tmp_path / "toy/splits.parquet"),
        "--output", str(tmp_path / "s.parquet"), "--embeddings", str(tmp_path / "s.safetensors"),
        "--cleaning", str(tmp_path / "s.tsv"), "--parameters",
    ]  # fmt: skip
    done = subprocess.run([*command, json.dumps({"width": 64})], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "s.parquet").read_bytes() == expected.read_bytes()
