"""The region file: written image by image, read by patient, joined over cohorts, refused when damaged."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pandas as pd
import pytest

from pathomix.core.errors import PathomixError
from pathomix.core.provenance import Provenance
from pathomix.core.regions import RegionStore
from pathomix.core.schemas import PASS_INDEX, SLIDES
from pathomix.core.tables import write_table
from pathomix.slides.feature_store import index_features
from pathomix.slides.region_store import (
    CohortRegions,
    LostRegion,
    RegionRecord,
    check_lost,
    read_index,
    write_quarantine,
    written_regions,
)

NAMES = ("b_2", "b_1", "a_1", "c_10", "c_9", "c_1")


def image_of(name, size=6):
    return np.random.default_rng(list(name.encode())).integers(0, 256, (size, size, 3), dtype=np.uint8)


def write(path, names=NAMES, size=6, known=True):
    with written_regions(path, size) as writer:
        for k, name in enumerate(names):
            corner = (10 * k, k) if known else ()
            writer.append(image_of(name, size), RegionRecord(name, f"P{name[0]}", f"slide {name[0]}", *corner))
        writer.finish(Provenance("regions", inputs={"slides": "0" * 64}), {"mpp": 0.5, "stain": "none"})
    return path


def test_each_patient_gets_its_own_images_in_the_order_of_their_ids(tmp_path):
    store: RegionStore = CohortRegions(write(tmp_path / "x.h5"))
    assert store.size == 6 and store.patient_ids == {"Pa", "Pb", "Pc"}
    for patient, names in {"Pa": ("a_1",), "Pb": ("b_1", "b_2"), "Pc": ("c_1", "c_10", "c_9")}.items():
        regions = store.of(patient)
        assert regions.region_ids == names and regions.images.dtype == np.uint8
        np.testing.assert_array_equal(regions.images, np.stack([image_of(name) for name in names]))


def test_the_file_says_where_its_regions_come_from(tmp_path):
    with h5py.File(write(tmp_path / "x.h5")) as file:
        assert file["images"].chunks == (1, 6, 6, 3) and file["images"].attrs["mpp"] == 0.5
        assert file["coords"][:].tolist() == [[10 * k, k] for k in range(6)]
        assert file["slide_ids"].asstr()[:3].tolist() == ["slide b", "slide b", "slide a"]
        assert json.loads(file.attrs["pathomix"])["inputs"] == {"slides": "0" * 64}
    with h5py.File(write(tmp_path / "y.h5", known=False)) as file:
        assert "coords" not in file


def test_equal_content_gives_equal_bytes_and_a_failure_leaves_nothing(tmp_path):
    first = write(tmp_path / "x.h5").read_bytes()
    assert write(tmp_path / "y.h5").read_bytes() == first
    with pytest.raises(RuntimeError), written_regions(tmp_path / "z.h5", 6) as writer:
        writer.append(image_of("a_1"), RegionRecord("a_1", "P", "s"))
        raise RuntimeError
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.h5", "y.h5"]


@pytest.mark.parametrize(("cache", "reads"), [(0, (2, 4)), (1000, (1, 2)), (6 * 6 * 3, (1, 3))])
def test_the_cache_holds_what_it_may(tmp_path, monkeypatch, cache, reads):
    store = CohortRegions(write(tmp_path / "x.h5"), cache_bytes=cache)
    count, original = [], h5py.File
    monkeypatch.setattr(h5py, "File", lambda *a, **k: count.append(1) or original(*a, **k))
    for _ in range(2):
        assert len(store.of("Pa").images) == 1  # 108 bytes
    assert len(count) == reads[0]
    for _ in range(2):
        assert len(store.of("Pb").images) == 2
    assert len(count) == reads[1]


def test_a_full_cache_takes_no_more(tmp_path, monkeypatch):
    store = CohortRegions(write(tmp_path / "x.h5", ("a_1", "b_1")), cache_bytes=6 * 6 * 3)
    count, original = [], h5py.File
    monkeypatch.setattr(h5py, "File", lambda *a, **k: count.append(1) or original(*a, **k))
    for patient in ("Pa", "Pb", "Pa", "Pb"):
        store.of(patient)
    assert len(count) == 3


def test_nobody_can_write_into_the_cache(tmp_path):
    regions = CohortRegions(write(tmp_path / "x.h5")).of("Pa")
    with pytest.raises(ValueError, match="read-only"):
        regions.images[:] = 0


def test_cohorts_are_joined_only_where_they_fit(tmp_path):
    left, right = write(tmp_path / "x.h5", ("a_1", "b_1")), write(tmp_path / "y.h5", ("c_1",))
    store = CohortRegions([left, right])
    assert store.patient_ids == {"Pa", "Pb", "Pc"} and store.of("Pc").region_ids == ("c_1",)
    with pytest.raises(PathomixError, match=r"another of the joined files.*: Pb"):
        CohortRegions([left, right, write(tmp_path / "z.h5", ("b_7",))])
    with pytest.raises(PathomixError, match=r"different size.*x\.h5 \(6\).*w\.h5 \(8\)"):
        CohortRegions([left, write(tmp_path / "w.h5", ("d_1",), size=8)])


def test_a_patient_without_regions_is_named(tmp_path):
    with pytest.raises(PathomixError, match="no region: Px"):
        CohortRegions(write(tmp_path / "x.h5")).of("Px")


def damage(path, how):
    if how == "cut":
        path.write_bytes(path.read_bytes()[:200])
    elif how == "absent":
        path.unlink()
    else:
        with h5py.File(path, "r+") as file:
            if how == "no names":
                del file["patient_ids"]
            elif how == "fewer images":
                file["images"].resize(5, axis=0)
            elif how == "repeated":
                file["region_ids"][0] = "a_1"
            else:
                del file["images"]
                file["images"] = np.zeros((6, 6, 6, 3) if how == "type" else (6, 6, 5, 3), np.float32)


@pytest.mark.parametrize("how", ["cut", "absent", "no names", "fewer images", "repeated", "type", "shape"])
def test_a_damaged_file_is_refused(tmp_path, how):
    path = write(tmp_path / "x.h5")
    damage(path, how)
    with pytest.raises(PathomixError, match=r"x\.h5: (not a region file|images .* do not fit).*cut_regions"):
        CohortRegions(path)


def test_a_file_that_changes_under_the_store_is_noticed(tmp_path):
    path = write(tmp_path / "x.h5")
    store = CohortRegions(path)
    shutil.copy(write(tmp_path / "y.h5", NAMES[::-1]), path)
    with pytest.raises(PathomixError, match="changed since it was opened: Pb"):
        store.of("Pb")
    path.write_bytes(b"")
    with pytest.raises(PathomixError, match="cannot be read"):
        store.of("Pb")


def test_the_index_is_in_the_order_of_the_images(tmp_path):
    table, size = read_index(write(tmp_path / "x.h5"))
    assert size == 6 and table["region_id"].tolist() == list(NAMES)
    assert table.columns.tolist() == ["region_id", "patient_id", "slide_id"]


def test_the_quarantine_has_the_shape_of_that_of_the_features(tmp_path):
    reasons = {"s2": ("tissue", "s.svs: no tissue: none; leave it out"), "s1": ("regions", 'x: a "b"\tc; d')}
    row = {**dict.fromkeys(PASS_INDEX.columns), "encoder": "demo"}
    rows = [
        {**row, "slide_id": s, "patient_id": f"P{s}", "status": "quarantined", "reason": ": ".join(r)}
        for s, r in reasons.items()
    ]
    write_table(pd.DataFrame(rows), PASS_INDEX, tmp_path / "i.parquet", Provenance("index"))
    slides = pd.DataFrame(rows)[["slide_id", "patient_id"]].assign(path="x", md5=None, size=None, mpp=None)
    write_table(slides, SLIDES, tmp_path / "slides.parquet", Provenance("slides"))
    given = [tmp_path / "i.parquet"], tmp_path / "slides.parquet", "demo"
    index_features(*given, 1.0, tmp_path / "o.parquet", tmp_path / "f")
    write_quarantine(tmp_path / "r", [LostRegion(s, f"P{s}", *r) for s, r in reasons.items()])
    assert (tmp_path / "r").read_bytes() == (tmp_path / "f").read_bytes()
    write_quarantine(tmp_path / "r", [])
    assert (tmp_path / "r").read_text() == "slide_id\tpatient_id\tstage\treason\n"


def test_too_many_lost_patients_are_an_error_that_names_them(tmp_path):
    lost = [LostRegion("s", "P1", "regions", "torn"), LostRegion("s", "outside", "regions", "other")]
    check_lost(tmp_path, ["P1", "P2", "P3", "P4"], ["P2", "P3", "P4", "P9"], lost, 0.25)
    with pytest.raises(PathomixError, match=r"1 of 4 patients have no region.*24%, for instance 'torn': P1"):
        check_lost(tmp_path, ["P1", "P2", "P3", "P4"], ["P2", "P3", "P4"], lost, 0.24)
    with pytest.raises(PathomixError, match="2 of 2 patients"):
        check_lost(tmp_path, ["P1", "P2"], [], lost, 1.0)


@pytest.mark.parametrize("module", ["region_store", "regions", "region_folder"])
def test_no_heavy_library_is_imported(root, module):
    code = (
        f"import sys; sys.path.insert(0, {str(root / 'src')!r}); import pathomix.slides.{module};"
        "print(sorted({'torch', 'timm', 'tiatoolbox', 'torchvision', 'scanpy', 'matplotlib'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
