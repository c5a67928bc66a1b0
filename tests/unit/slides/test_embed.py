"""Embedding stage: two scales agree, keys, resumption, damaged slides, stored reference values."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
import tifffile

from pathomix.core.errors import PathomixError
from pathomix.core.schemas import PASS_INDEX
from pathomix.core.tables import read_table
from pathomix.slides import embed
from pathomix.slides.coords import read_coords
from pathomix.slides.cut import cut_shard
from pathomix.slides.embed import embed_shard
from pathomix.slides.encoders.encoder import build_encoder
from pathomix.slides.segment import segment_shard
from pathomix.slides.stage import coords_path
from pathomix.slides.tilings import tiling_name

QUICK = {"model": "timm", "timm": "test_resnet", "seed": 0, "tile_size": 64, "mpp": 1.0, "input_size": 64,
         "stages": [0, 1], "pooling": "mean_std"}  # fmt: skip
RESNET = {**QUICK, "timm": "resnet18"}


class Chain:
    """All three stages into one results folder."""

    def __init__(self, root, results, slide_table, kit):
        self.root, self.results, self.slide_table, self.kit = root, results, slide_table, kit

    def prepare(self, files, tiling=(64, 1.0), selection=None, **columns):
        self.table, r = self.slide_table(files, **columns), self.results
        self.tiles = r / f"tiles-{tiling_name(*tiling)}-0.parquet"
        segment_shard(self.table, self.root, 0, 1, self.kit.tissue, r, r / "tissue.parquet")
        cut_shard(r / "tissue.parquet", self.table, self.root, tiling, selection or {}, r, self.tiles)

    def embed(self, entry=QUICK, engine=None, **changes):
        r = self.results
        encoders = {"demo": {**entry, **changes}}
        embed_shard([self.tiles], self.table, self.root, "all", encoders, engine or {}, r, r / "pass.parquet")
        index = read_table(r / "pass.parquet", PASS_INDEX)
        assert set(index["encoder"]) <= {"demo"}
        return index.set_index("slide_id")

    def path(self, slide):
        return self.results / "features" / "demo" / f"{slide}.h5"

    def features(self, slide):
        with h5py.File(self.path(slide)) as file:
            return file["features"][:], file["coords"][:]


@pytest.fixture
def chain(zoo, slide_table, tmp_path, kit):
    return Chain(zoo, tmp_path / "R", slide_table, kit)


def test_the_same_tissue_gives_the_same_features_at_two_scales(chain):
    names = ("fine", "fine_one_level", "coarse", "coarse_one_level")
    chain.prepare({name: f"{name}.tiff" for name in names})
    chain.embed(RESNET)
    reference, coords = chain.features("fine")
    assert reference.dtype == np.float16 and coords.dtype == np.int32 and reference.shape == (len(coords), 256)
    others = {tuple(c): f for c, f in zip(coords.tolist(), reference.astype(np.float64), strict=True)}
    for name in names[1:]:
        features, places = chain.features(name)
        factor = 1 if name.startswith("fine") else 2
        pairs = [
            (f, others.get(tuple(c))) for c, f in zip((places * factor).tolist(), features.astype(float), strict=True)
        ]
        shared = [(a, b) for a, b in pairs if b is not None]
        assert len(shared) >= 0.95 * len(others)
        cosine = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in shared]
        assert min(cosine) > 0.99


def test_file_contract(chain):
    chain.prepare({"a": "coarse.tiff"})
    index = chain.embed(engine={"device": "cpu"})
    source = read_coords(coords_path(chain.results, "a", "64px_1mpp"))
    with h5py.File(chain.path("a")) as file:
        attributes = dict(file["features"].attrs)
        np.testing.assert_array_equal(file["coords"][:], source.coords)
        assert file["coords"].attrs["patch_size_level0"] == 128
        provenance = json.loads(file.attrs["pathomix"])
    encoder = build_encoder("demo", QUICK)
    policy = {"version": 2, "storage": "float16", "precision": "fp32", "device": "cpu", "compile": False}
    assert json.loads(attributes["numeric_policy_json"]) == policy
    assert attributes["weights_sha256"] == encoder.weights_sha256 == provenance["inputs"]["weights"]
    assert (attributes["name"], attributes["encoder"], attributes["encoder_id"]) == ("a", "demo", "timm")
    assert index.loc["a", "key"] == attributes["key"] and index.loc["a", "tiles"] == len(source.coords)
    assert index.loc["a", "path"] == "features/demo/a.h5"


def test_resume_skips_what_is_there_and_repeats_to_the_byte(chain, monkeypatch):
    chain.prepare({"a": "coarse.tiff", "b": "fine.tiff"})
    chain.embed()
    first = {s: chain.path(s).read_bytes() for s in "ab"}
    done = []
    original = embed.SlideTask
    monkeypatch.setattr(embed, "SlideTask", lambda slide, *a: done.append(slide) or original(slide, *a))
    chain.embed(engine={"batch_size": 5})
    assert done == []
    chain.path("a").unlink()
    chain.path("b").write_bytes(first["b"][:1000])
    chain.embed()
    assert done == ["a", "b"]
    assert {s: chain.path(s).read_bytes() for s in "ab"} == first


@pytest.mark.parametrize("change", ["seed", "transform", "tiles", "slide", "policy", "precision"])
def test_nothing_stale_survives(chain, monkeypatch, change):
    chain.prepare({"a": "coarse.tiff"})
    before = chain.embed().loc["a", "key"]
    options = {"seed": {"seed": 1}, "transform": {"mean": (0.5, 0.5, 0.5)}}.get(change, {})
    engine = {"precision": "bf16"} if change == "precision" else {}
    if change == "tiles":
        chain.prepare({"a": "coarse.tiff"}, selection={"min_tissue": 0.9})
    elif change == "slide":
        chain.prepare({"a": "fine.tiff"})
    elif change == "policy":
        monkeypatch.setattr(embed, "NUMERIC_POLICY", {**embed.NUMERIC_POLICY, "version": -1})
    assert chain.embed(engine=engine, **options).loc["a", "key"] != before


def test_the_way_the_tiles_were_found_is_not_in_the_key(chain):
    """Other tissue parameters that select the same tiles must not cost GPU time."""
    chain.prepare({"a": "coarse.tiff"})
    first = chain.embed().loc["a", "key"]
    stamp = chain.path("a").stat().st_mtime_ns
    chain.prepare({"a": "coarse.tiff"}, selection={"min_tissue": 0.2501})
    assert chain.embed().loc["a", "key"] == first
    assert chain.path("a").stat().st_mtime_ns == stamp


def test_half_precision_agrees_with_single(chain):
    chain.prepare({"a": "coarse.tiff"})
    chain.embed(RESNET, {"precision": "fp32"})
    single = chain.features("a")[0].astype(np.float64)
    chain.embed(RESNET, {"precision": "bf16"})
    half = chain.features("a")[0].astype(np.float64)
    cosine = (single * half).sum(axis=1) / np.linalg.norm(single, axis=1) / np.linalg.norm(half, axis=1)
    assert cosine.min() > 0.9995 and not np.array_equal(single, half)


def test_a_vanished_slide_and_a_lost_coordinate_file_are_quarantined(chain, tmp_path):
    root = tmp_path / "slides"
    root.mkdir()
    for name in "abc":
        (root / f"{name}.tiff").write_bytes((chain.root / "coarse.tiff").read_bytes())
    chain.root = root
    chain.prepare({name: f"{name}.tiff" for name in "abc"})
    (root / "a.tiff").unlink()
    (chain.results / "slides" / "b" / "64px_1mpp.coords.h5").unlink()
    index = chain.embed()
    assert index["status"].tolist() == ["quarantined", "quarantined", "done"]
    assert "a.tiff: no such file" in index.loc["a", "reason"]
    assert "not a coordinate file" in index.loc["b", "reason"]


def test_a_shard_without_a_usable_slide_builds_no_encoder(chain, monkeypatch):
    chain.prepare({"a": "no_tissue.tiff"})
    monkeypatch.setattr(embed, "build_encoder", None)
    index = chain.embed()
    assert index["status"].tolist() == ["quarantined"] and index.loc["a", "reason"].startswith("tissue: ")


def test_a_quarantined_slide_keeps_no_features_of_an_earlier_run(chain, tmp_path):
    chain.prepare({"a": "coarse.tiff"})
    chain.embed()
    chain.root = tmp_path
    assert chain.embed(seed=1).loc["a", "status"] == "quarantined" and not chain.path("a").exists()


def test_an_unknown_key_or_model_ends_the_job(chain):
    chain.prepare({"a": "coarse.tiff"})
    with pytest.raises(PathomixError, match=r"encoders\.demo: unknown parameters: sede"):
        chain.embed(sede=1)
    with pytest.raises(PathomixError, match="unknown keys in embedding: batchsize"):
        chain.embed(engine={"batchsize": 1})
    with pytest.raises(PathomixError, match=r"encoders\.demo\.model"):
        chain.embed(model="nothing")


def test_stored_reference_values(chain, tmp_path):
    """Reading and encoding mean today what they meant when these numbers were stored.

    Where this fails on purpose, raise NUMERIC_POLICY["version"] in embed.py and store the new values.
    """
    y, x = np.mgrid[0:256, 0:256]
    ramp = np.stack([200 + x // 8, 100 + y // 3, 150 + 40 * ((x // 16 + y // 16) % 2)], axis=-1).astype(np.uint8)
    tifffile.imwrite(tmp_path / "ramp.tiff", ramp, tile=(256, 256), photometric="rgb", metadata=None,
                     resolution=(2e4, 2e4), resolutionunit="CENTIMETER")  # fmt: skip
    chain.root = tmp_path
    chain.prepare({"ramp": "ramp.tiff"})
    chain.embed(RESNET, {"device": "cpu"})
    features, coords = chain.features("ramp")
    assert coords.tolist() == [[0, 0], [128, 0], [0, 128], [128, 128]]
    assert embed.NUMERIC_POLICY["version"] == 2
    np.testing.assert_allclose(features[:, ::37].astype(float), REFERENCE, rtol=0.02, atol=0.003)


REFERENCE = np.array(
    [
        [0, 0, 3.045, 1.849, 0.007812, 0.09521, 0.3538],
        [0, 0, 3.383, 1.896, 0.0007925, 0.1069, 0.3828],
        [0.01331, 0.001035, 3.041, 2.375, 0.02599, 0.06934, 0.2871],
        [0.0119, 0.0004797, 3.521, 2.514, 0.01176, 0.08038, 0.3347],
    ]
)
