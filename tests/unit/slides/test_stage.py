"""What the slide stages share."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pathomix.core.errors import PathomixError
from pathomix.slides.segment import TissueParameters
from pathomix.slides.stage import parameters_from, run_stage, slide_folder
from pathomix.slides.tiles import TileParameters


def test_parameters_are_checked():
    made = parameters_from(TissueParameters, {"masker": "colour", "mpp_window": [0.1, 2]}, "slides.tissue")
    assert made.mpp_window == (0.1, 2) and made.min_area_mm2 == TissueParameters().min_area_mm2
    with pytest.raises(PathomixError, match=r"unknown keys in slides\.tiles: zise"):
        parameters_from(TileParameters, {"zise": 3}, "slides.tiles")


def test_one_bad_slide_does_not_end_the_stage_and_loses_its_old_files(tmp_path):
    rows = [{"slide_id": s, "patient_id": f"P{s}"} for s in "abc"]
    rows.append({"slide_id": "d", "patient_id": "Pd", "status": "quarantined", "reason": "tissue: torn"})
    for slide in "abcd":
        (tmp_path / slide).write_text("old")

    def work(row):
        if row["slide_id"] == "b":
            raise PathomixError("b.svs: broken", remedy="fetch it again")
        return {"path": row["slide_id"], "tiles": 3}

    frame = run_stage("tiles", rows, work, lambda row: [tmp_path / row["slide_id"]])
    assert frame["status"].tolist() == ["done", "quarantined", "done", "quarantined"]
    assert frame["reason"].tolist() == [None, "tiles: b.svs: broken; fetch it again", None, "tissue: torn"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "c"]


def test_a_bug_is_not_a_quarantine():
    with pytest.raises(ZeroDivisionError):
        run_stage("tiles", [{"slide_id": "a", "patient_id": "P"}], lambda row: {"tiles": 1 // 0}, lambda row: [])


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden"])
def test_an_id_that_leaves_the_results_is_refused(tmp_path, name):
    with pytest.raises(PathomixError, match="cannot name a folder"):
        slide_folder(tmp_path, name)


@pytest.mark.parametrize("module", ["segment", "cut", "feature_store"])
def test_the_light_stages_import_no_heavy_library(root, module):
    code = (
        f"import sys; sys.path.insert(0, {str(root / 'src')!r}); import pathomix.slides.{module};"
        "print(sorted({'torch', 'timm', 'tiatoolbox', 'torchvision', 'scanpy', 'matplotlib'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
