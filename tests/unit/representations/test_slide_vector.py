"""Slide vectors without training: what they are, for whom there is none, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import save_file

from pathomix.cohort.cases import Cases
from pathomix.core.bags import Bag
from pathomix.core.errors import PathomixError
from pathomix.foundation.build import build_slide_encoder
from pathomix.foundation.layout import Layout
from pathomix.representations.build import build_representation
from pathomix.representations.slide_vector import SlideVector
from pathomix.training.checkpoint import Checkpoint

ENCODER = {"architecture": "longnet", "width": 16, "depth": 2, "heads": 4, "segments": [8, 32], "ratios": [1, 2],
           "grid": 40}  # fmt: skip
OPEN = {"architecture": "alibi_vit", "width": 16, "depth": 2, "heads": 4, "pooler_heads": 2}
CELL = 256


class Tiles:
    """Bags of one or two slides; counts how often each is read."""

    def __init__(self, patients, dim=6, seed=0):
        rng = np.random.default_rng(seed)
        self.dim = dim
        self.bags = {patient: self._bag(rng, i) for i, patient in enumerate(patients)}
        self.reads = []

    def _bag(self, rng, i):
        tiles = [4 + i, 3][: 1 + i % 2]
        cells = np.concatenate([rng.permutation(100)[:n] for n in tiles])
        coords = (np.column_stack([cells % 10, cells // 10]) * CELL).astype(np.int32)
        number = np.repeat(np.arange(len(tiles), dtype=np.int32), tiles)
        features = rng.normal(size=(len(cells), self.dim)).astype(np.float32)
        slides = tuple(f"s{n}" for n in range(len(tiles)))
        return Bag(features, coords, number, slides, np.full((len(tiles), 2), CELL, np.float32))

    @property
    def patient_ids(self):
        return frozenset(self.bags)

    def bag(self, patient_id):
        self.reads.append(patient_id)
        return self.bags[patient_id]


def cohort(patients=6, **more):
    ids = [f"P{i}" for i in range(patients)]
    columns = {"time": 1.0, "event": 1, "class_label": "a"}
    return Cases(pd.DataFrame(columns, index=pd.Index(ids, name="patient_id")), tiles=Tiles(ids, **more))


def fitted(representation, cases, tmp_path):
    return representation.fit(cases, cases.subset([]), seed=0, checkpoint=Checkpoint(tmp_path / "c.pt", {}))


def slide_vector(encoder=ENCODER, **parameters):
    return SlideVector(encoder, **{"vector": "state_2_mean", **parameters})


@pytest.mark.parametrize(("encoder", "vector"), [(ENCODER, "state_1_cls"), (ENCODER, "final_mean"), (OPEN, "model")])
def test_vectors_are_those_of_the_frozen_encoder(encoder, vector, tmp_path):
    cases = cohort()
    embedding = fitted(slide_vector(encoder, vector=vector), cases, tmp_path).embed(cases)
    general = embedding.vectors["general"]
    assert list(embedding.vectors) == ["general"] and embedding.missing == {}
    assert general.index.tolist() == cases.ids.tolist() and general.index.name == "patient_id"
    alone = build_slide_encoder(encoder, 6)
    for patient, row in general.iterrows():
        arranged = alone.arrange(cases.tiles.bags[patient], patient, Layout())
        np.testing.assert_array_equal(row, alone.vectors(arranged, [vector])[vector])
    assert general.std().min() > 0 and general.to_numpy().dtype == np.float32


def test_switches_reach_the_layout(tmp_path):
    cases = cohort(seed=4)

    def general(**switches):
        return fitted(slide_vector(OPEN, vector="model", **switches), cases, tmp_path).embed(cases).vectors["general"]

    plain = general()
    pd.testing.assert_frame_equal(general(), plain)
    two = [f"P{i}" for i in range(6) if i % 2]
    moved = (general(slide_layout="released") - plain).abs().max(axis=1) > 1e-5
    assert moved[two].all() and not moved.drop(two).any()
    for change in ({"max_tiles": 3}, {"coord_frame": "level0_raw"}):
        if change == {"coord_frame": "level0_raw"}:
            for bag in cases.tiles.bags.values():
                bag.coords[:] = bag.coords * 2
                bag.tile_edge[:] = bag.tile_edge * 2
            pd.testing.assert_frame_equal(general(), plain)
        assert (general(**change) - plain).abs().max(axis=1).min() > 1e-5


def test_patients_without_a_vector_are_missing_with_the_reason(tmp_path):
    cases = cohort()
    del cases.tiles.bags["P0"]
    cases.tiles.bags["P3"].coords[:] *= 100  # beyond the position grid
    cases.tiles.bags["P4"].features[1, 2] = np.nan
    embedding = fitted(slide_vector(), cases, tmp_path).embed(cases)
    assert set(embedding.missing) == {"P0", "P3", "P4"}
    assert embedding.missing["P0"] == "no embedded slide" and "not finite" in embedding.missing["P4"]
    assert embedding.missing["P3"].startswith("P3: its slides") and "40 x 40" in embedding.missing["P3"]
    assert embedding.vectors["general"].index.tolist() == ["P1", "P2", "P5"]
    assert np.isfinite(embedding.vectors["general"].to_numpy()).all()


def test_nobody_with_a_vector(tmp_path):
    model = fitted(slide_vector(), cohort(), tmp_path)
    cases = cohort()
    cases.tiles.bags.clear()
    embedding = model.embed(cases)
    assert len(embedding.vectors["general"]) == 0 and set(embedding.missing) == set(cases.ids)


def test_each_bag_is_read_once_for_all_folds(tmp_path):
    cases, representation = cohort(), slide_vector()
    model = fitted(representation, cases, tmp_path)
    first = model.embed(cases)
    again = representation.load(model.state()).embed(cases.subset(["P5", "P0"]))
    assert sorted(cases.tiles.reads) == cases.ids.tolist()
    pd.testing.assert_frame_equal(again.vectors["general"], first.vectors["general"].loc[["P5", "P0"]])
    other = model.embed(cohort(seed=9))  # the same names in another store are other patients
    assert (other.vectors["general"] - first.vectors["general"]).abs().to_numpy().min() > 0


def test_a_saved_state_gives_the_same_vectors_and_knows_its_encoder(tmp_path):
    cases = cohort()
    weights = tmp_path / "w.safetensors"

    def write(seed):
        state = build_slide_encoder({**ENCODER, "seed": seed}, 6).model.state_dict()
        save_file({name: value.contiguous() for name, value in state.items()}, weights)

    write(3)
    with_file = {**ENCODER, "weights": str(weights)}
    model = fitted(slide_vector(with_file), cases, tmp_path)
    vectors = model.embed(cases).vectors["general"]
    pd.testing.assert_frame_equal(slide_vector(with_file).load(model.state()).embed(cases).vectors["general"], vectors)
    assert model.history().columns.tolist() == ["step"] and len(model.history()) == 0
    write(4)
    with pytest.raises(PathomixError, match="weights are not those"):
        slide_vector(with_file).load(model.state()).embed(cases)


def test_what_is_refused(tmp_path):
    with pytest.raises(PathomixError, match="unknown parameters: vectro"):
        slide_vector(vectro="x")
    with pytest.raises(PathomixError, match="slide_layout is 'x'"):
        slide_vector(slide_layout="x")
    with pytest.raises(PathomixError, match="longnet has no vector 'model'; set `vector` to one of state_0_cls"):
        fitted(slide_vector(vector="model"), cohort(), tmp_path)
    with pytest.raises(PathomixError, match="need tile features"):
        fitted(slide_vector(), Cases(cohort().patients), tmp_path)
    model = fitted(slide_vector(), cohort(), tmp_path)
    with pytest.raises(PathomixError, match="width 9, the slide vectors were set up for 6"):
        model.embed(cohort(dim=9))
    with pytest.raises(PathomixError, match="embed this cohort's"):
        model.embed(cohort(dim=9), foreign=cohort(dim=9))


def test_the_registry_builds_it():
    configuration = {"representation": "slide_vector", "vector": "state_2_mean", "max_tiles": 7}
    built = build_representation(json.loads(json.dumps(configuration)), ENCODER)
    assert isinstance(built, SlideVector) and built.layout.max_tiles == 7 and built.inner_folds == 0
