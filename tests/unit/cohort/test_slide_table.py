from __future__ import annotations

import pytest

from pathomix.core.errors import PathomixError
from pathomix.core.schemas import SLIDES
from pathomix.core.tables import read_table


def slides(study):
    return read_table(study.build() / "slides.parquet", SLIDES).set_index("slide_id")


def test_path_pattern_uses_columns_of_the_table(study, edit):
    study.slides["file"] = [f"uuid{i}/x.tiff" for i in range(len(study.slides))]
    edit("slides.path", "images/{file}")
    assert slides(study).loc["TEST-02-0001-01Z-00-DX1", "path"] == "images/uuid0/x.tiff"


def test_slide_of_two_patients(study):
    study.slides.loc[7] = study.slides.loc[0]
    study.slides.loc[7, "case"] = "TEST-02-0002"
    with pytest.raises(PathomixError, match=r"one slide contradict.*\(TEST-02-0001\).*\(TEST-02-0002\)"):
        study.build()


def test_repeated_row_is_merged(study):
    study.slides.loc[7] = study.slides.loc[0]
    assert len(slides(study)) == 7


def test_slide_of_normal_tissue_is_quarantined(study):
    study.slides.loc[7] = ["TEST-02-0001-11A-01-TS1.svs", "TEST-02-0001", "0.5"]
    assert len(slides(study)) == 7
    assert "normal tissue" in study.quarantine()["reason"].iloc[0]


def test_impossible_mpp(study):
    study.slides.loc[0, "mpp"] = "-1"
    with pytest.raises(PathomixError, match=r"mpp is not above 0: TEST-02-0001-01Z-00-DX1"):
        study.build()
    assert not (study.folder / "out").exists()  # found before anything was written


def test_md5_and_size(study, edit):
    study.slides["sum"], study.slides["bytes"] = "d41d8cd98f00b204e9800998ecf8427e", "12"
    edit("slides.md5", "sum")
    edit("slides.size", "bytes")
    table = slides(study)
    assert set(table["size"]) == {12} and set(table["md5"]) == {"d41d8cd98f00b204e9800998ecf8427e"}
