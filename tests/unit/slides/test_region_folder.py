"""A folder of regions as Pathomic Fusion names them: what is taken, what is quarantined, what is refused."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pathomix.core.errors import PathomixError
from pathomix.core.provenance import Provenance
from pathomix.core.schemas import PATIENTS
from pathomix.core.tables import write_table
from pathomix.slides.region_folder import decoded, import_regions
from pathomix.slides.region_store import CohortRegions, read_index

UUID = "23b6e12e-dfc1-4c6f-903e-170038a0e055"
A, B, C = "TCGA-06-0174", "TCGA-26-1442", "TCGA-A3-3306"


def slide(patient, number=1):
    return f"{patient}-01Z-00-DX{number}.{UUID}"


def picture(name, size=8):
    width, height = size if isinstance(size, tuple) else (size, size)
    return np.random.default_rng(list(name.encode())).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def release(tmp_path):
    """Folder, cohort of two patients, and the import."""
    folder = tmp_path / "imgs"
    folder.mkdir()
    patients = pd.DataFrame({"patient_id": [A, B], "time": 1.0, "event": 1, "endpoint": "OS"})
    patients = patients.reindex(columns=list(PATIENTS.columns))
    write_table(patients, PATIENTS, tmp_path / "patients.parquet", Provenance("patients"))

    class Release:
        output, quarantine = tmp_path / "x.h5", tmp_path / "x.quarantine.tsv"

        def add(self, stem, size=8, mode="RGB"):
            Image.fromarray(picture(stem, size)).convert(mode).save(folder / f"{stem}.png")
            return folder / f"{stem}.png"

        def run(self, lost=0.5, **parameters):
            where = self.output, self.quarantine
            import_regions(folder, tmp_path / "patients.parquet", "roi", parameters, lost, *where)
            return CohortRegions(self.output), pd.read_csv(self.quarantine, sep="\t")

    Release.folder = folder
    return Release()


def test_regions_and_patches_go_to_their_patients(release):
    stems = [f"{slide(A)}_1", f"{slide(A)}_10", f"{slide(A, 2)}_2", f"{slide(B)}_1_0_256", f"{slide(B)}_1_256_0"]
    for stem in stems[::-1]:
        release.add(stem)
    store, lost = release.run()
    assert store.size == 8 and store.patient_ids == {A, B} and lost.empty
    assert store.of(A).region_ids == tuple(stems[:3]) and store.of(B).region_ids == tuple(stems[3:])
    np.testing.assert_array_equal(store.of(A).images, np.stack([picture(stem) for stem in stems[:3]]))
    table, _ = read_index(release.output)
    assert table["slide_id"].tolist() == [slide(A), slide(A), slide(A, 2), slide(B), slide(B)]
    assert lost.columns.tolist() == ["slide_id", "patient_id", "stage", "reason"]


def test_bad_files_are_named_and_the_others_go_on(release, caplog):
    release.add(f"{slide(A)}_1")
    release.add(f"{slide(B)}_1")
    release.add(f"{slide(A)}_2", (8, 6))
    for number, mode in enumerate(["RGBA", "L", "P", "LA"], start=3):
        release.add(f"{slide(A)}_{number}", mode=mode)
    whole = release.add(f"{slide(B)}_2").read_bytes()
    (release.folder / f"{slide(B)}_2.png").write_bytes(whole[: len(whole) // 2])
    (release.folder / f"{slide(B)}_3.png").write_bytes(b"")
    Image.fromarray(picture("x")).save(release.folder / f"{slide(B)}_4.png", format="BMP")
    for stem in ("kidney_1", f"{slide(A)}", f"{slide(A)}_1_2", f"{slide(A)}_x"):
        release.add(stem)
    release.add(f"{slide(C)}_1")
    (release.folder / "Thumbs.db").write_text("x")
    store, lost = release.run()
    assert {p: len(store.of(p).images) for p in store.patient_ids} == {A: 1, B: 1}
    reasons = {reason.partition(": ")[0]: reason for reason in lost["reason"]}
    expected = {
        f"{slide(A)}_2.png": "8 x 6 pixels, not square",
        f"{slide(A)}_3.png": "colours are RGBA, not RGB",
        f"{slide(A)}_4.png": "colours are L,",
        f"{slide(A)}_5.png": "colours are P,",
        f"{slide(A)}_6.png": "colours are LA,",
        f"{slide(B)}_2.png": "cannot be read",
        f"{slide(B)}_3.png": "cannot be read",
        f"{slide(B)}_4.png": "cannot be read",
        "kidney_1.png": "not named as a region",
        f"{slide(A)}.png": "not named as a region",
        f"{slide(A)}_1_2.png": "not named as a region",
        f"{slide(A)}_x.png": "not named as a region",
        f"{slide(C)}_1.png": "its patient is not in the cohort",
    }
    assert set(reasons) == set(expected) and len(lost) == len(expected)
    for name, reason in expected.items():
        assert reason in reasons[name], name
    outside = lost[lost["reason"].str.contains("not in the cohort")].iloc[0]
    assert (outside["patient_id"], outside["slide_id"], outside["stage"]) == (C, slide(C), "regions")
    assert "Thumbs.db" in caplog.text and "kidney_1.png" in caplog.text


def test_regions_of_different_sizes_need_a_word_of_the_user(release):
    for number in (1, 2, 3):
        release.add(f"{slide(A)}_{number}")
    release.add(f"{slide(B)}_1", 16)
    with pytest.raises(
        PathomixError, match=r"3 of 8, 1 of 16 pixels.*: .*1442.*_1\.png \(16\); set regions\.roi\.size"
    ):
        release.run()
    store, lost = release.run(size=8)
    assert store.patient_ids == {A} and "16 pixels instead of 8" in lost["reason"].iloc[0]
    with pytest.raises(PathomixError, match=f"1 of 2 patients have no region.*: {B}"):
        release.run(size=8, lost=0.4)
    assert release.run(size=16)[0].patient_ids == {B}


def test_nothing_to_import_is_an_error(release, tmp_path):
    with pytest.raises(PathomixError, match=r"no region of a patient of the cohort \(0 files"):
        release.run()
    release.add(f"{slide(C)}_1")
    with pytest.raises(PathomixError, match="not in the cohort"):
        release.run()
    (release.folder / f"{slide(A)}_1.png").write_bytes(b"no image")
    with pytest.raises(PathomixError, match="none of 1 region files is a readable square image"):
        release.run()
    with pytest.raises(PathomixError, match="1 of 1 patients have no region"):
        release.run(size=8, lost=1.0)
    with pytest.raises(PathomixError, match=r"unknown keys in regions\.roi: sise"):
        release.run(sise=8)
    with pytest.raises(PathomixError, match="no such folder"):
        import_regions(tmp_path / "absent", tmp_path / "patients.parquet", "roi", {}, 0, tmp_path / "a", tmp_path / "b")
    assert not release.output.exists() and not release.quarantine.exists()


def test_the_lineage_follows_the_files_content_and_names(release):
    def lineage():
        release.run()
        with h5py.File(release.output) as file:
            return json.loads(file.attrs["pathomix"])

    path = release.add(f"{slide(A)}_1")
    first = lineage()
    assert first["artifact"] == "regions" and first["parameters"] == {"size": 8} and lineage() == first
    content = release.output.read_bytes()
    lineage()
    assert release.output.read_bytes() == content
    path.rename(release.folder / f"{slide(A)}_2.png")
    renamed = lineage()
    Image.fromarray(picture("other")).save(release.folder / f"{slide(A)}_2.png")
    changed = lineage()
    assert len({item["inputs"]["files"] for item in (first, renamed, changed)}) == 3
    assert first["inputs"]["patients"] == changed["inputs"]["patients"]


def test_lower_case_names_find_their_patient(release):
    release.add(f"{slide(A).lower()}_1")
    assert release.run()[0].patient_ids == {A}


def test_decoding_gives_the_pixels(release):
    path = release.add(f"{slide(A)}_1")
    np.testing.assert_array_equal(decoded(path.read_bytes(), path.name, 8), picture(path.stem))
