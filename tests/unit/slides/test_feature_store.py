"""Merging of shards, loss of patients, and bags by patient."""

from __future__ import annotations

import h5py
import numpy as np
import pandas as pd
import pytest

from pathomix.cohort.cases import TileStore
from pathomix.core.errors import PathomixError
from pathomix.core.provenance import Provenance
from pathomix.core.schemas import PASS_INDEX, SLIDE_INDEX, SLIDES
from pathomix.core.tables import read_table, write_table
from pathomix.slides.feature_store import FeatureStore, index_features, tile_edge

EDGE = (507, 503)


def write_features(path, tiles, dim, key, seed, **attributes):
    rng = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["features"] = rng.normal(size=(tiles, dim)).astype(np.float16)
        file["features"].attrs["key"] = key
        file["coords"] = rng.integers(0, 100, (tiles, 2)).astype(np.int32)
        for name, value in {"patch_size_level0_xy": EDGE, **attributes}.items():
            file["coords"].attrs[name] = value


@pytest.fixture
def cohort(tmp_path):
    """Slides s0..s9 of patients P0..P4, in two shards; s8 and s9 are quarantined."""
    rows = []
    for number in range(10):
        slide = f"s{number}"
        row = {**dict.fromkeys(SLIDE_INDEX.columns), "slide_id": slide, "patient_id": f"P{number // 2}"}
        if number < 8:
            write_features(tmp_path / f"features/demo/{slide}.h5", number + 1, 4, f"key{number}", number)
            row |= {"status": "done", "path": f"features/demo/{slide}.h5", "key": f"key{number}", "tiles": number + 1}
        else:
            row |= {"status": "quarantined", "reason": "tissue: s.svs: no tissue: none at all; leave it out"}
        rows.append(row)
    frame = pd.DataFrame(rows, columns=list(SLIDE_INDEX.columns))
    for k in range(2):
        own = frame.iloc[k::2].assign(encoder="demo")
        rows = pd.concat([own, own.assign(encoder="other", path="features/other/x.h5")])
        write_table(rows, PASS_INDEX, tmp_path / f"shard-{k}.parquet", Provenance("features_index"))
    slides = frame[["slide_id", "patient_id"]].assign(path="x", md5=None, size=None, mpp=None)
    write_table(slides, SLIDES, tmp_path / "slides.parquet", Provenance("slides"))

    def merge(share=0.25, shards=(0, 1), encoder="demo"):
        paths = [tmp_path / f"shard-{k}.parquet" for k in shards]
        output, quarantine = tmp_path / "merged.parquet", tmp_path / "quarantine.tsv"
        index_features(paths, tmp_path / "slides.parquet", encoder, share, output, quarantine)
        return output, quarantine

    return merge


def test_merge_and_quarantine_table(cohort):
    output, quarantine = cohort()
    assert read_table(output, SLIDE_INDEX)["slide_id"].tolist() == [f"s{i}" for i in range(10)]
    table = pd.read_csv(quarantine, sep="\t")
    assert table.columns.tolist() == ["slide_id", "patient_id", "stage", "reason"]
    assert table.iloc[0].tolist() == ["s8", "P4", "tissue", "s.svs: no tissue: none at all; leave it out"]


def test_the_rows_of_one_encoder_are_taken(cohort):
    demo = read_table(cohort()[0], SLIDE_INDEX)
    other = read_table(cohort(encoder="other")[0], SLIDE_INDEX)
    assert set(demo["path"].dropna()) == {f"features/demo/s{i}.h5" for i in range(8)}
    assert set(other["path"].dropna()) == {"features/other/x.h5"}
    with pytest.raises(PathomixError, match=r"shard-0\.parquet: no rows of the encoder third: demo, other"):
        cohort(encoder="third")


def test_losing_more_patients_than_allowed_fails_and_names_them(cohort, tmp_path, caplog):
    with pytest.raises(PathomixError, match="1 of 5 patients have no usable slide") as error:
        cohort(share=0.1)
    assert error.value.offending == ["P4"] and "max_lost_share" in error.value.remedy
    assert not (tmp_path / "merged.parquet").exists() and "s9 (P4)" in caplog.text
    cohort(share=0.2)


def test_a_missing_shard_is_an_error(cohort):
    with pytest.raises(PathomixError, match="differ: s1, s3"):
        cohort(shards=(0,))
    with pytest.raises(PathomixError, match="repeated"):
        cohort(shards=(0, 1, 1))


def test_a_cohort_without_slides(tmp_path):
    empty = pd.DataFrame(columns=list(PASS_INDEX.columns))
    write_table(empty, PASS_INDEX, tmp_path / "i.parquet", Provenance("features_index"))
    write_table(pd.DataFrame(columns=list(SLIDES.columns)), SLIDES, tmp_path / "s.parquet", Provenance("slides"))
    index, slides, output, quarantine = (tmp_path / n for n in ("i.parquet", "s.parquet", "m.parquet", "q.tsv"))
    index_features([index], slides, "demo", 0.0, output, quarantine)
    assert (tmp_path / "q.tsv").read_text() == "slide_id\tpatient_id\tstage\treason\n"
    store = FeatureStore(tmp_path / "m.parquet", tmp_path)
    assert store.patient_ids == frozenset()
    with pytest.raises(PathomixError, match="no embedded slide"):
        _ = store.dim


@pytest.mark.parametrize("cache", [0, 100, 1 << 20])
def test_bags(cohort, tmp_path, cache):
    store: TileStore = FeatureStore(cohort()[0], tmp_path, cache_bytes=cache)
    assert store.patient_ids == {"P0", "P1", "P2", "P3"} and store.dim == 4
    for _ in range(2):
        bag = store.bag("P1")
        assert bag.slide_ids == ("s2", "s3") and bag.slide.tolist() == [0] * 3 + [1] * 4
        parts = []
        for slide in bag.slide_ids:
            with h5py.File(tmp_path / f"features/demo/{slide}.h5") as file:
                parts.append((file["features"][:], file["coords"][:]))
        np.testing.assert_array_equal(bag.features, np.concatenate([f for f, _ in parts]).astype(np.float32))
        np.testing.assert_array_equal(bag.coords, np.concatenate([c for _, c in parts]))
        np.testing.assert_array_equal(bag.tile_edge, np.array([EDGE, EDGE], np.float32))
        kinds = bag.features.dtype, bag.coords.dtype, bag.slide.dtype, bag.tile_edge.dtype
        assert kinds == (np.float32, np.int32, np.int32, np.float32)


def test_cached_files_are_not_read_again(cohort, tmp_path):
    store = FeatureStore(cohort()[0], tmp_path)
    first = store.bag("P1").features
    first[:] = 0  # a caller's change must not reach the cache
    for slide in ("s2", "s3"):
        (tmp_path / f"features/demo/{slide}.h5").unlink()
    assert store.bag("P1").features.any()
    with pytest.raises(PathomixError, match="cannot be read"):
        FeatureStore(tmp_path / "merged.parquet", tmp_path, cache_bytes=0).bag("P1")


def test_a_patient_without_slides_and_a_replaced_file_are_errors(cohort, tmp_path):
    store = FeatureStore(cohort()[0], tmp_path)
    with pytest.raises(PathomixError, match="P4"):
        store.bag("P4")
    write_features(tmp_path / "features/demo/s0.h5", 2, 4, "other key", 0)
    with pytest.raises(PathomixError, match="not the file that was indexed"):
        store.bag("P0")


def test_tile_edge_is_not_rounded_where_the_scale_is_known():
    known = {"patch_size": 256, "target_mpp": 0.5, "mpp_x": 0.2527, "mpp_y": 0.2548, "patch_size_level0_xy": EDGE}
    np.testing.assert_allclose(tile_edge(known), [128 / 0.2527, 128 / 0.2548], rtol=1e-6)
    np.testing.assert_array_equal(tile_edge({"patch_size_level0_xy": EDGE}), EDGE)
    with pytest.raises(KeyError):
        tile_edge({"patch_size": 256})


def test_the_tile_edge_of_each_slide_and_a_file_without(cohort, tmp_path):
    output, _ = cohort()
    write_features(tmp_path / "features/demo/s3.h5", 4, 4, "key3", 3, patch_size_level0_xy=(256, 128))
    np.testing.assert_array_equal(FeatureStore(output, tmp_path).bag("P1").tile_edge, [EDGE, (256, 128)])
    with h5py.File(tmp_path / "features/demo/s3.h5", "a") as file:
        del file["coords"].attrs["patch_size_level0_xy"]
    with pytest.raises(PathomixError, match="s3"):
        FeatureStore(output, tmp_path).bag("P1")


def second_index(tmp_path, patient):
    """An index of one slide, called s0 as in the first cohort."""
    write_features(tmp_path / "features/other/s0.h5", 5, 4, "other", 77)
    row = {**dict.fromkeys(SLIDE_INDEX.columns), "slide_id": "s0", "patient_id": patient, "status": "done"}
    row |= {"path": "features/other/s0.h5", "key": "other", "tiles": 5}
    frame = pd.DataFrame([row], columns=list(SLIDE_INDEX.columns))
    write_table(frame, SLIDE_INDEX, tmp_path / "other.parquet", Provenance("features_index"))
    return tmp_path / "other.parquet"


def test_several_indices_are_one_store(cohort, tmp_path):
    first, _ = cohort()
    store = FeatureStore([first, second_index(tmp_path, "Q0")], tmp_path)
    assert store.patient_ids == {"P0", "P1", "P2", "P3", "Q0"}
    # the same slide name in two cohorts is two slides
    assert [len(store.bag(patient).features) for patient in ("P0", "Q0", "P0")] == [3, 5, 3]
    assert not np.array_equal(store.bag("P0").features[0], store.bag("Q0").features[0])


def test_a_patient_in_two_indices_is_an_error(cohort, tmp_path):
    first, _ = cohort()
    with pytest.raises(PathomixError, match=r"other\.parquet.*P3"):
        FeatureStore([first, second_index(tmp_path, "P3")], tmp_path)
    with pytest.raises(PathomixError, match="P0, P1, P2, P3"):
        FeatureStore([first, first], tmp_path)


def test_slides_of_different_width_are_an_error(cohort, tmp_path):
    output, _ = cohort()
    write_features(tmp_path / "features/demo/s3.h5", 4, 6, "key3", 3)
    with pytest.raises(PathomixError, match=r"P1: features of different width: s2 \(4\), s3 \(6\)"):
        FeatureStore(output, tmp_path).bag("P1")
