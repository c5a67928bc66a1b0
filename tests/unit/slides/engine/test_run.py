"""The engine on passes: workers and batches do not matter, passes equal single encoders, bad slides stay alone."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import torch

from pathomix.core.errors import PathomixError
from pathomix.slides.encoders.encoder import build_encoder
from pathomix.slides.engine import decode, plan
from pathomix.slides.engine.partial import PartialFile
from pathomix.slides.reader import open_slide
from pathomix.slides.tile_reader import TileReader

COARSE = {"a": "coarse.tiff", "b": "fine.tiff"}


@pytest.fixture(autouse=True)
def small_regions(monkeypatch):
    """Several reads per slide, also of these small ones."""
    monkeypatch.setattr(plan, "REGION_PIXELS", 400)


def test_workers_and_batches_do_not_matter(shop):
    shop.cut(COARSE, (64, 1.0))
    results = {}
    for workers, batch, prefetch in ((0, 64, "auto"), (1, 64, 1), (4, 64, "auto"), (0, 1, "auto")):
        shop.embed(workers=workers, batch_size=batch, prefetch=prefetch)
        results[workers, batch] = {s: (shop.path(s).read_bytes(), shop.features(s)) for s in COARSE}
        for slide in COARSE:
            np.testing.assert_array_equal(shop.features(slide)[1], shop.coords(slide, 64, 1.0))
            shop.path(slide).unlink()
    for slide in COARSE:
        content, (features, _) = results[0, 64][slide]
        assert features.std(axis=0).max() > 0.1
        assert results[1, 64][slide][0] == results[4, 64][slide][0] == content
        np.testing.assert_allclose(results[0, 1][slide][1][0], features, rtol=2e-3, atol=1e-3)
    assert shop.leftovers() == []


def test_each_feature_is_that_of_the_tile_at_its_place(shop, zoo):
    shop.cut(COARSE, (64, 1.0))
    shop.embed(workers=0)
    encoder = build_encoder("tiny", shop.entry(64, 1.0))
    for slide, name in COARSE.items():
        features, coords = shop.features(slide)
        with open_slide(zoo / name) as opened:
            reader = TileReader(opened, 64, 1.0)
            tiles = np.stack([reader.tile(x, y) for x, y in coords.tolist()])
        np.testing.assert_allclose(features, encoder.encode(torch.from_numpy(tiles)).numpy(), rtol=2e-3, atol=1e-3)


def test_encoders_of_a_tiling_that_stopped_at_different_places_go_on(shop, monkeypatch):
    shop.cut({"a": "coarse.tiff"}, (64, 1.0))
    encoders = {"tiny": shop.entry(64, 1.0), "other": shop.entry(64, 1.0, seed=1)}
    engine = {"workers": 0, "batch_size": 8, "block": 16}
    shop.embed(encoders, **engine)
    whole = {name: shop.path("a", name).read_bytes() for name in encoders}
    original, appended = PartialFile.append, []

    def stop(self, features, good):
        original(self, features, good)
        appended.append(self.path.parent.name)
        if appended.count("tiny") == 3:
            raise KeyboardInterrupt

    for name in encoders:
        shop.path("a", name).unlink()
    with monkeypatch.context() as patch:
        patch.setattr(PartialFile, "append", stop)
        with pytest.raises(KeyboardInterrupt):
            shop.embed(encoders, **engine)
    assert appended.count("other") < 3
    shop.embed(encoders, **engine)
    assert {name: shop.path("a", name).read_bytes() for name in encoders} == whole


def test_a_pass_equals_its_encoders_alone(shop):
    tilings = (64, 1.0), (128, 1.0), (48, 0.5)
    encoders = {
        "tiny": shop.entry(64, 1.0), "other": shop.entry(64, 1.0, seed=1), "large": shop.entry(128, 1.0),
        "near": shop.entry(48, 0.5),
    }  # fmt: skip
    shop.cut(COARSE, *tilings)
    index = shop.embed(encoders, batch_size=16, workers=1, block=48)
    assert index["status"].tolist() == ["done"] * 8
    together = {(e, s): shop.path(s, e).read_bytes() for e in encoders for s in COARSE}
    for name, one in encoders.items():
        for slide in COARSE:
            shop.path(slide, name).unlink()
        shop.embed({name: one}, batch_size=16, workers=0)
    assert {(e, s): shop.path(s, e).read_bytes() for e in encoders for s in COARSE} == together
    assert len(set(together.values())) == 8


def test_tilings_of_a_level_share_its_reads(shop, monkeypatch):
    shop.cut({"a": "coarse.tiff"}, (64, 0.5), (128, 0.5))
    reads = []
    original = decode.read_tiles
    monkeypatch.setattr(decode, "read_tiles", lambda r, c, o: reads.append(len(r)) or original(r, c, o))
    shop.embed({"tiny": shop.entry(64, 0.5), "large": shop.entry(128, 0.5)}, workers=0)
    assert reads == [2] * 9


def test_nothing_is_decoded_where_all_is_there_and_one_more_slide_is_one_more(shop, monkeypatch):
    shop.cut({"a": "coarse.tiff"}, (64, 1.0))
    first = shop.embed(workers=0)
    stamp = shop.path("a").stat().st_mtime_ns
    decoded = []
    original = decode.Decoder.decode
    monkeypatch.setattr(decode.Decoder, "decode", lambda s, r, b: decoded.append(r.path.name) or original(s, r, b))
    shop.embed(workers=0, batch_size=5, block=17)
    assert decoded == []
    shop.cut({"b": "fine.tiff"}, (64, 1.0))
    both = shop.embed(workers=0)
    assert set(decoded) == {"fine.tiff"} and both["status"].tolist() == ["done", "done"]
    assert shop.path("a").stat().st_mtime_ns == stamp
    assert both.loc[("tiny", "a"), "sha256"] == first.loc[("tiny", "a"), "sha256"]


def test_unreadable_tiles_are_left_out_and_counted(shop):
    shop.cut({"bad": "damaged.tiff", "good": "coarse.tiff"}, (64, 0.5), (512, 0.5))
    encoders = {"tiny": shop.entry(64, 0.5), "large": shop.entry(512, 0.5)}
    for workers in (0, 1):
        index = shop.embed(encoders, workers=workers, max_bad_share=0.1)
        assert index["status"].to_dict() == {
            ("large", "bad"): "quarantined", ("large", "good"): "done",
            ("tiny", "bad"): "done", ("tiny", "good"): "done",
        }  # fmt: skip
        assert (
            "features: damaged.tiff: 1 or more of its 4 tiles cannot be read" in index.loc[("large", "bad"), "reason"]
        )
        (kept, at), (whole, whole_at) = shop.features("bad"), shop.features("good")
        lost = {tuple(c) for c in whole_at.tolist()} - {tuple(c) for c in at.tolist()}
        assert lost == {(x, y) for x in range(256, 512, 64) for y in range(256, 512, 64)}
        same = [i for i, c in enumerate(whole_at.tolist()) if tuple(c) not in lost]
        np.testing.assert_array_equal(at, whole_at[same])
        np.testing.assert_array_equal(kept, whole[same])  # bad tiles keep their place in the batch
        with h5py.File(shop.path("bad")) as file:
            assert file["features"].attrs["unreadable_tiles"] == 16
        shop.path("bad").unlink()
        shop.path("good").unlink()
    assert shop.leftovers() == []


def test_a_slide_that_cannot_be_opened_does_not_cost_the_others(shop, zoo, tmp_path):
    shop.cut({"a": "coarse.tiff", "b": "fine.tiff", "c": "coarse_one_level.tiff"}, (64, 1.0))
    shop.root = tmp_path / "moved"
    shop.root.mkdir()
    (shop.root / "coarse.tiff").write_bytes((zoo / "coarse.tiff").read_bytes())
    (shop.root / "fine.tiff").write_text("no slide")
    for workers in (0, 2):
        index = shop.embed(workers=workers).droplevel(0)
        assert index["status"].tolist() == ["done", "quarantined", "quarantined"]
        assert "fine.tiff" in index.loc["b", "reason"] and "no such file" in index.loc["c", "reason"]
        shop.path("a").unlink()


def test_coordinate_files_of_two_scales_are_not_mixed(shop):
    shop.cut({"a": "coarse.tiff"}, (64, 1.0), (128, 1.0))
    with h5py.File(shop.results / "slides" / "a" / "128px_1mpp.coords.h5", "a") as file:
        file["coords"].attrs["mpp_x"] = 0.51
    index = shop.embed({"tiny": shop.entry(64, 1.0), "large": shop.entry(128, 1.0)}, workers=0).droplevel(1)
    assert sorted(index["status"]) == ["done", "quarantined"]
    assert index["reason"].dropna().str.contains("not of the same slide at the same scale").all()


def test_features_that_overflow_half_precision_are_refused(shop):
    shop.cut({"a": "coarse.tiff"}, (64, 1.0))
    index = shop.embed({"tiny": shop.entry(std=[1e-6, 1e-6, 1e-6]), "fine": shop.entry()}, workers=0).droplevel(1)
    assert index["status"].to_dict() == {"fine": "done", "tiny": "quarantined"}
    assert "not finite in float16" in index.loc["tiny", "reason"] and shop.leftovers() == []


def test_an_index_that_is_missing_is_named(shop):
    shop.cut({"a": "coarse.tiff"}, (64, 1.0))
    with pytest.raises(PathomixError, match=r"no tile index of the tiling 32px_1mpp: tiles-64px_1mpp-0\.parquet"):
        shop.embed({"tiny": shop.entry(32, 1.0)})
