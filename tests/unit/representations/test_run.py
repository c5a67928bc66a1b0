from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from safetensors import safe_open

from pathomix.core.errors import PathomixError
from pathomix.core.files import file_digest
from pathomix.core.provenance import METADATA_KEY, Provenance
from pathomix.core.schemas import MODEL_INDEX
from pathomix.core.tables import read_table
from pathomix.representations import run
from pathomix.representations.base import Embedding
from pathomix.representations.run import EmbeddingCell, TrainingCell, embed_cell, inner_parts, train_cell
from pathomix.representations.store import EmbeddingStore, read_embeddings
from pathomix.training.checkpoint import Checkpoint
from pathomix.training.probes import subtype_score


class Remembering:
    """A representation whose vector says 1 for a patient it was fitted on and 0 for any other."""

    def __init__(self, inner_folds=0, fails=lambda train: False):
        self.inner_folds, self.fails, self.fits = inner_folds, fails, []

    def fit(self, train, valid, *, seed, checkpoint, cohort=None):
        self.fits.append((len(train.ids), seed))
        checkpoint.save({"fits": len(self.fits)})
        if self.fails(train):
            raise PathomixError("cannot be fitted", remedy="nothing")
        return Remembered("\n".join(train.ids), str(cohort.ids[0]))

    def load(self, state):
        return Remembered(state["seen"].tobytes().decode(), "")


class Remembered:
    def __init__(self, seen, first):
        self.seen, self.first = seen.split("\n"), first

    def embed(self, cases, *, foreign=None):
        known = [p for p in cases.ids if not p.endswith("0003")]
        frame = pd.DataFrame({0: [float(p in self.seen) for p in known], 1: float(foreign is not None)}, index=known)
        return Embedding({"general": frame}, {p: "left out on purpose" for p in cases.ids if p.endswith("0003")})

    def state(self):
        return {"seen": np.frombuffer("\n".join(self.seen).encode(), dtype=np.uint8)}

    def history(self):
        return pd.DataFrame({"step": [0], "loss": [1.0]})


CELL = TrainingCell("rep", "sim", "cv", 0, {"representation": "stub"}, {"architecture": "x"}, "digest", {"a": "1"})


@pytest.fixture
def cohort(planted):
    return planted.planted(40)


def splits_of(cases, folds=2):
    frames = []
    for fold in range(folds):
        part = np.array(["train", "train", "valid", "test"])[(np.arange(len(cases.ids)) + fold) % 4]
        frames.append(pd.DataFrame({"fold": fold, "patient_id": cases.ids, "part": part}))
    return pd.concat(frames, ignore_index=True)


@pytest.fixture
def study(cohort, tmp_path, monkeypatch):
    """Trains and embeds with a stub in the place of the configured representation."""

    class Study:
        cases, splits, root = cohort, splits_of(cohort), tmp_path
        stub = Remembering(inner_folds=3)

        def train(self, cell=CELL, stub=None):
            self.stub = stub or self.stub
            monkeypatch.setattr(run, "build_representation", lambda *_: self.stub)
            train_cell(cell, self.cases, self.splits, tmp_path, tmp_path / "index.parquet")
            return read_table(tmp_path / "index.parquet", MODEL_INDEX)

        def embed(self, index, cases=None, splits=None, foreign=False, models=None):
            cell = EmbeddingCell({"representation": "stub"}, {}, "sim", foreign, {})
            chosen = (cases or self.cases, self.splits if splits is None else splits)
            embed_cell(cell, *chosen, index, tmp_path, tmp_path / "e.h5ad")
            return read_embeddings(tmp_path / "e.h5ad")

    return Study()


def test_files_and_index(study):
    index = study.train()
    assert index[["fold", "inner"]].to_numpy().tolist() == [[f, j] for f in (0, 1) for j in range(4)]
    folder = study.root / "representations/rep/sim/cv-1/seed0/inner2"
    row = index[(index["fold"] == 1) & (index["inner"] == 2)].iloc[0]
    assert study.root / row["path"] == folder / "model.safetensors"
    assert row["sha256"] == file_digest(folder / "model.safetensors")
    assert sorted(p.name for p in folder.iterdir()) == ["history.parquet", "model.safetensors", "run.json"]
    assert {seed for _, seed in study.stub.fits} == {0}, "inner models share the seed, so the targets"


def test_held_out_vectors_come_from_models_that_have_not_seen_the_patient(study):
    index = study.train()
    data = study.embed(index)
    train = (data.obs["part"] == "train").to_numpy()
    embedded = (data.obs["reason"] == "").to_numpy()
    seen, apart = np.asarray(data.X)[:, 0], data.obsm["general_held_out"][:, 0]
    assert (seen[train & embedded] == 1).all()
    assert (seen[~train & embedded] == 0).all()
    assert (apart[train & embedded] == 0).all()
    assert np.isnan(apart[~train]).all()
    for fold in (0, 1):
        rows = index[(index["fold"] == fold) & (index["inner"] > 0)]
        out = []
        for path in rows["path"]:
            with safe_open(study.root / path, framework="numpy") as file:
                patients = Provenance.from_json(file.metadata()[METADATA_KEY]).parameters["patients"]
            assert not set(patients["held_out"]) & set(patients["trained_on"])
            out += patients["held_out"]
        split = study.splits[(study.splits["fold"] == fold) & (study.splits["part"] == "train")]
        assert sorted(out) == sorted(split["patient_id"])
    handed = EmbeddingStore({0: study.root / "e.h5ad"}).of(0, 0)
    assert (handed[0] == 0).all()


def test_patients_without_a_vector_have_the_reason(study):
    data = study.embed(study.train())
    missing = data.obs["patient_id"].astype(str).str.endswith("0003").to_numpy()
    assert (data.obs["reason"][missing] == "left out on purpose").all()
    assert np.isnan(np.asarray(data.X)[missing]).all()
    assert np.isfinite(np.asarray(data.X)[~missing]).all()


def test_finished_units_are_kept_and_damaged_or_changed_ones_are_not(study):
    first = study.train()
    assert len(study.stub.fits) == 8
    pd.testing.assert_frame_equal(first, study.train())
    assert len(study.stub.fits) == 8
    (study.root / first["path"][2]).write_bytes(b"damaged")
    study.train()
    assert len(study.stub.fits) == 9
    study.train(replace(CELL, configuration={"representation": "stub", "epochs": 3}))
    assert len(study.stub.fits) == 17
    study.train(replace(CELL, slide_encoder={**CELL.slide_encoder, "weights": "/elsewhere"}, configuration={
        "representation": "stub", "epochs": 3}))  # fmt: skip
    assert len(study.stub.fits) == 17, "the path of the weights does not count, their content does (inputs)"


def test_a_failed_fit_is_a_row_and_costs_only_its_own_vectors(study):
    smaller = Remembering(3, fails=lambda train: len(train.ids) < 20 and "SIMU-AA-0000" not in train.ids)
    index = study.train(stub=smaller)
    failed = index[index["status"] == "failed"]
    assert failed["fold"].tolist() == [0, 1] and (failed["inner"] > 0).all()
    assert failed["reason"].str.startswith("cannot be fitted").all()
    data = study.embed(index)
    apart = data.obsm["general_held_out"][:, 0]
    lost = np.isnan(apart) & (data.obs["part"] == "train").to_numpy() & (data.obs["reason"] == "").to_numpy()
    assert 2 <= lost.sum() < 20
    assert "0/SIMU-AA-0000" in data.obs_names[lost]
    assert "SIMU-AA-0000" not in EmbeddingStore({0: study.root / "e.h5ad"}).of(0, 0).index


def test_a_fold_without_a_model_has_its_reason_for_everyone(study):
    index = study.train(stub=Remembering(0, fails=lambda train: "SIMU-AA-0000" in train.ids))
    data = study.embed(index)
    first = (data.obs["fold"] == 0).to_numpy()
    assert data.obs["reason"][first].str.contains("model of fold 0 could not be fitted: cannot be fitted").all()
    assert np.isfinite(np.asarray(data.X)[~first & (data.obs["reason"] == "").to_numpy()]).all()
    assert "general_held_out" not in data.obsm


def test_a_checkpoint_of_another_configuration_stops_the_job(study):
    folder = study.root / CELL.folder(0, 0)
    other = replace(CELL, code_digest="older").provenance(
        "representation", study.splits[study.splits["fold"] == 0], fold=0, inner=0
    )
    lineage = {k: v for k, v in other.to_dict().items() if k != "artifact"}
    Checkpoint(folder / "checkpoint.pt", lineage).save({})
    with pytest.raises(PathomixError, match=r'parameters\.code \("older" there, "digest" now\)'):
        study.train()
    assert not study.stub.fits


def test_a_foreign_cohort_has_its_own_parts_and_no_held_out_vectors(study, planted):
    index = study.train()
    other = planted.planted(16, prefix="SIMU-ZZ")
    data = study.embed(index, other, splits_of(other), foreign=True)
    assert "general_held_out" not in data.obsm
    embedded = (data.obs["reason"] == "").to_numpy()
    assert (np.asarray(data.X)[embedded] == [0, 1]).all()
    assert set(data.obs["part"]) == {"train", "valid", "test"}


def test_leaks_and_missing_models_are_refused(study):
    index = study.train()
    swapped = study.splits.assign(part=study.splits["part"].replace({"train": "test", "test": "train"}))
    with pytest.raises(PathomixError, match="model was trained on valid or test patients: SIMU"):
        study.embed(index, splits=swapped)
    with pytest.raises(PathomixError, match="no model of fold 1"):
        study.embed(index[index["fold"] == 0])
    (study.root / index["path"][0]).write_bytes(b"damaged")
    with pytest.raises(PathomixError, match=r"model\.safetensors: cannot be read"):
        study.embed(index)
    (study.root / index["path"][1]).replace(study.root / index["path"][0])
    with pytest.raises(PathomixError, match=r"model\.safetensors: not the file that was indexed"):
        study.embed(index)


def test_inner_parts_spread_events_and_do_not_depend_on_python(cohort):
    left_out = inner_parts(cohort, 4, seed=1)
    assert set(left_out) == {1, 2, 3, 4}
    events = cohort.patients["event"].to_numpy(int)
    assert np.ptp([events[left_out == j].sum() for j in range(1, 5)]) <= 1
    assert (inner_parts(cohort, 4, seed=1) == left_out).all()
    assert not (inner_parts(cohort, 4, seed=2) == left_out).all()
    unknown = replace(cohort, patients=cohort.patients.assign(event=pd.array([None] * 40, dtype="Int8")))
    assert len(inner_parts(unknown, 4, seed=1)) == 40
    with pytest.raises(PathomixError, match="40 training patients cannot be cross-fitted in 30 parts"):
        inner_parts(cohort, 30, seed=1)


def test_modaltune_itself_from_training_to_probe(planted, tmp_path):
    """The planted class through files, cross-fitted."""
    cases = planted.planted(80)
    splits = splits_of(cases, folds=1)
    configuration = {"representation": "modaltune", **planted.PARAMETERS, "inner_folds": 2, "epochs": 5}
    cell = TrainingCell("mt", "sim", "cv", 0, configuration, planted.SLIDE_ENCODER, "", {})
    train_cell(cell, replace(cases, texts=None), splits, tmp_path, tmp_path / "i.parquet", lambda fold: cases.texts)
    models = read_table(tmp_path / "i.parquet", MODEL_INDEX)
    assert (models["status"] == "done").all(), models["reason"].tolist()
    embed = EmbeddingCell(configuration, planted.SLIDE_ENCODER, "sim", False, {})
    embed_cell(embed, replace(cases, texts=None), splits, models, tmp_path, tmp_path / "e.h5ad")
    vectors = EmbeddingStore({0: tmp_path / "e.h5ad"}).of(0, 0)
    part = splits.set_index("patient_id")["part"]
    label = (cases.patients["class_label"] == "type1").astype(int)
    train, test = (part.index[part == name] for name in ("train", "test"))
    assert subtype_score(vectors.loc[train], label[train], vectors.loc[test], label[test]) > 0.8
