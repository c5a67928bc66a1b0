"""Embedding stage: two scales agree, keys, resumption, damaged slides, stored reference values."""

from __future__ import annotations

import dataclasses
import json

import h5py
import numpy as np
import pytest
import tifffile

from pathomix.core.errors import PathomixError
from pathomix.core.schemas import SLIDE_INDEX
from pathomix.core.tables import read_table
from pathomix.slides import embed
from pathomix.slides.coords import read_coords
from pathomix.slides.cut import cut_shard
from pathomix.slides.embed import embed_shard, encode_tiles
from pathomix.slides.encoders import EncoderParameters, TileEncoder
from pathomix.slides.segment import segment_shard


class Chain:
    """All three stages into one results folder."""

    def __init__(self, root, results, slide_table, kit):
        self.root, self.results, self.slide_table, self.kit = root, results, slide_table, kit

    def prepare(self, files, tiles=None, **columns):
        self.table = self.slide_table(files, **columns)
        r = self.results
        segment_shard(self.table, self.root, 0, 1, self.kit.tissue, r, r / "tissue.parquet")
        cut_shard(r / "tissue.parquet", self.table, self.root, tiles or self.kit.tiles, r, r / "tiles.parquet")

    def embed(self, **changes):
        parameters = {**self.kit.quick, **changes}
        r = self.results
        embed_shard(r / "tiles.parquet", self.table, self.root, "demo", parameters, r, r / "features.parquet")
        return read_table(r / "features.parquet", SLIDE_INDEX).set_index("slide_id")

    def path(self, slide):
        return self.results / "features" / "demo" / f"{slide}.h5"

    def features(self, slide):
        with h5py.File(self.path(slide)) as file:
            return file["features"][:], file["coords"][:]


@pytest.fixture
def chain(zoo, slide_table, tmp_path, kit):
    return Chain(zoo, tmp_path / "R", slide_table, kit)


def test_the_same_tissue_gives_the_same_features_at_two_scales(chain, kit):
    names = ("fine", "fine_one_level", "coarse", "coarse_one_level")
    chain.prepare({name: f"{name}.tiff" for name in names})
    chain.embed(**kit.encoder)
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
    index = chain.embed()
    source = read_coords(chain.results / "slides" / "a" / "coords.h5")
    with h5py.File(chain.path("a")) as file:
        attributes = dict(file["features"].attrs)
        np.testing.assert_array_equal(file["coords"][:], source.coords)
        assert file["coords"].attrs["patch_size_level0"] == 128
        provenance = json.loads(file.attrs["pathomix"])
    encoder = TileEncoder("demo", EncoderParameters(**chain.kit.quick))
    assert attributes["weights_sha256"] == encoder.weights_sha256 == provenance["inputs"]["weights"]
    assert (attributes["name"], attributes["encoder"], attributes["encoder_id"]) == ("a", "demo", "test_resnet")
    assert index.loc["a", "key"] == attributes["key"] and index.loc["a", "tiles"] == len(source.coords)
    assert index.loc["a", "path"] == "features/demo/a.h5"


def test_batch_size_and_order_do_not_matter(chain, zoo):
    chain.prepare({"a": "coarse.tiff"})
    tiles = read_coords(chain.results / "slides" / "a" / "coords.h5")
    parameters = EncoderParameters(**chain.kit.encoder)
    results = []
    for batch in (1, 7, 64):
        encoder = TileEncoder("demo", dataclasses.replace(parameters, batch_size=batch))
        results.append(encode_tiles(zoo / "coarse.tiff", tiles, encoder)[0].astype(np.float32))
    for other in results[1:]:
        np.testing.assert_allclose(other, results[0], rtol=2e-3, atol=1e-3)  # half precision: one unit in 1024
    turned = dataclasses.replace(tiles, coords=tiles.coords[::-1].copy())
    backwards = encode_tiles(zoo / "coarse.tiff", turned, encoder)[0].astype(np.float32)
    np.testing.assert_allclose(backwards[::-1], results[2], rtol=2e-3, atol=1e-3)


def test_resume_skips_what_is_there_and_repeats_to_the_byte(chain, monkeypatch):
    chain.prepare({"a": "coarse.tiff", "b": "fine.tiff"})
    chain.embed()
    first = {s: chain.path(s).read_bytes() for s in "ab"}
    done = []
    original = embed.encode_tiles
    monkeypatch.setattr(embed, "encode_tiles", lambda *a: done.append(a[0].name) or original(*a))
    chain.embed(batch_size=5)
    assert done == []
    chain.path("a").unlink()
    chain.path("b").write_bytes(first["b"][:1000])
    chain.embed()
    assert done == ["coarse.tiff", "fine.tiff"]
    assert {s: chain.path(s).read_bytes() for s in "ab"} == first


@pytest.mark.parametrize("change", ["seed", "transform", "tiles", "slide", "policy"])
def test_nothing_stale_survives(chain, monkeypatch, change):
    chain.prepare({"a": "coarse.tiff"})
    before = chain.embed().loc["a", "key"]
    options = {"seed": {"seed": 1}, "transform": {"mean": (0.5, 0.5, 0.5)}}.get(change, {})
    if change == "tiles":
        chain.prepare({"a": "coarse.tiff"}, tiles={"mpp": 1.0, "size": 64, "min_tissue": 0.9})
    elif change == "slide":
        chain.prepare({"a": "fine.tiff"})
    elif change == "policy":
        monkeypatch.setattr(embed, "NUMERIC_POLICY", {**embed.NUMERIC_POLICY, "version": -1})
    assert chain.embed(**options).loc["a", "key"] != before


def test_the_way_the_tiles_were_found_is_not_in_the_key(chain, kit):
    """Other tissue parameters that select the same tiles must not cost GPU time."""
    chain.prepare({"a": "coarse.tiff"})
    first = chain.embed().loc["a", "key"]
    stamp = chain.path("a").stat().st_mtime_ns
    chain.prepare({"a": "coarse.tiff"}, tiles={**kit.tiles, "min_tissue": 0.2501})
    assert chain.embed().loc["a", "key"] == first
    assert chain.path("a").stat().st_mtime_ns == stamp


def test_a_damaged_slide_loses_its_bad_tiles_or_is_quarantined(chain):
    chain.prepare({"bad": "damaged.tiff", "good": "coarse.tiff"}, tiles={"mpp": 0.5, "size": 64})
    index = chain.embed(max_bad_share=0.0)
    assert index.loc["bad", "status"] == "quarantined" and index.loc["good", "status"] == "done"
    assert "features: damaged.tiff:" in index.loc["bad", "reason"]
    assert "of its tiles cannot be read" in index.loc["bad", "reason"] and not chain.path("bad").exists()
    chain.embed(max_bad_share=0.5)
    (kept, kept_at), (whole, whole_at) = chain.features("bad"), chain.features("good")
    lost = {tuple(c) for c in whole_at.tolist()} - {tuple(c) for c in kept_at.tolist()}
    assert lost and all(192 < x < 512 and 192 < y < 512 for x, y in lost)
    same = [i for i, c in enumerate(whole_at.tolist()) if tuple(c) not in lost]
    np.testing.assert_allclose(kept.astype(np.float32), whole[same].astype(np.float32), rtol=2e-3, atol=1e-3)


def test_a_vanished_slide_and_a_lost_coordinate_file_are_quarantined(chain, tmp_path):
    root = tmp_path / "slides"
    root.mkdir()
    for name in "abc":
        (root / f"{name}.tiff").write_bytes((chain.root / "coarse.tiff").read_bytes())
    chain.root = root
    chain.prepare({name: f"{name}.tiff" for name in "abc"})
    (root / "a.tiff").unlink()
    (chain.results / "slides" / "b" / "coords.h5").unlink()
    index = chain.embed()
    assert index["status"].tolist() == ["quarantined", "quarantined", "done"]
    assert "a.tiff: no such file" in index.loc["a", "reason"]
    assert "not a coordinate file" in index.loc["b", "reason"]


def test_features_that_overflow_half_precision_are_refused(chain):
    chain.prepare({"a": "coarse.tiff"})
    reason = chain.embed(std=(1e-6, 1e-6, 1e-6)).loc["a", "reason"]
    assert "not finite in float16" in reason


def test_an_unknown_key_or_model_ends_the_job(chain):
    chain.prepare({"a": "coarse.tiff"})
    with pytest.raises(PathomixError, match=r"unknown keys in encoders\.demo: sede"):
        chain.embed(sede=1)
    with pytest.raises(PathomixError, match="has no model"):
        chain.embed(timm="nothing")


def test_stored_reference_values(chain, tmp_path, kit):
    """Reading and encoding mean today what they meant when these numbers were stored.

    Where this fails on purpose, raise NUMERIC_POLICY["version"] in embed.py and store the new values.
    """
    y, x = np.mgrid[0:256, 0:256]
    ramp = np.stack([200 + x // 8, 100 + y // 3, 150 + 40 * ((x // 16 + y // 16) % 2)], axis=-1).astype(np.uint8)
    tifffile.imwrite(tmp_path / "ramp.tiff", ramp, tile=(256, 256), photometric="rgb", metadata=None,
                     resolution=(2e4, 2e4), resolutionunit="CENTIMETER")  # fmt: skip
    chain.root = tmp_path
    chain.prepare({"ramp": "ramp.tiff"})
    chain.embed(**kit.encoder)
    features, coords = chain.features("ramp")
    assert coords.tolist() == [[0, 0], [128, 0], [0, 128], [128, 128]]
    assert embed.NUMERIC_POLICY["version"] == 1
    np.testing.assert_allclose(features[:, ::37].astype(float), REFERENCE, rtol=0.02, atol=0.003)


REFERENCE = np.array(
    [
        [0, 0, 3.045, 1.849, 0.007812, 0.09521, 0.3538],
        [0, 0, 3.383, 1.896, 0.0007925, 0.1069, 0.3828],
        [0.01331, 0.001035, 3.041, 2.375, 0.02599, 0.06934, 0.2871],
        [0.0119, 0.0004797, 3.521, 2.514, 0.01176, 0.08038, 0.3347],
    ]
)
