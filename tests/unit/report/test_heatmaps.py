"""Maps over the slides of explained patients: what can be drawn is, the rest is named."""

from __future__ import annotations

import json
import re
import runpy
import sys

import h5py
import numpy as np
import pandas as pd
import pytest
import tifffile

from pathomix.core.files import file_digest
from pathomix.core.provenance import Provenance
from pathomix.core.schemas import SLIDE_INDEX, SLIDES
from pathomix.core.tables import read_table, write_table
from pathomix.slides.heatmap import HEATMAPS

TILE_COORDS = np.array([(x, y) for y in range(0, 1024, 256) for x in range(0, 1024, 256)])


def explanation(folder, patient, slides, hot, unscored=()):
    """Tile file of one patient as explain_run writes it: all attention on one tile of the first slide."""
    count = len(slides) * len(TILE_COORDS)
    token = np.full(count, -1)
    scored = [place for place in range(count) if place not in unscored]
    token[scored] = np.arange(len(scored))[::-1]  # rows of the maps are not in the order of the tiles
    looked = np.full((3, len(scored)), 0.5 / (len(scored) - 1), dtype=np.float32)
    looked[:, token[hot]] = 0.5
    path = folder / "tiles" / f"{patient}.h5"
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["coords"] = np.tile(TILE_COORDS, (len(slides), 1)).astype(np.int32)
        file["slide"] = np.repeat(np.arange(len(slides), dtype=np.int32), len(TILE_COORDS))
        file["token"] = token
        file.create_dataset("slide_ids", data=slides, dtype=h5py.string_dtype())
        for stage in range(2):
            file[f"general/stage{stage}/prompt_to_tiles.0"] = looked
            file[f"general/stage{stage}/tiles_to_prompt"] = np.zeros((len(scored), 3), dtype=np.float32)
            file[f"general/stage{stage}/effect"] = np.linspace(0, stage + 1, len(scored), dtype=np.float32)
    return {"patient_id": patient, "part": "test", "status": "done", "reason": None,
            "path": f"tiles/{patient}.h5", "sha256": file_digest(path)}  # fmt: skip


def script_runner(root, monkeypatch, arguments):
    """Runs the script in this process: a fresh one would spend its time on imports."""
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        monkeypatch.setenv(variable, "1")  # set by the script; restored afterwards

    def run(*more):
        path = str(root / "workflow_scripts/draw_heatmaps.py")
        monkeypatch.setattr(sys, "argv", [path, *map(str, arguments), *more])
        runpy.run_path(path, run_name="__main__")

    return run


@pytest.fixture
def explained(tmp_path):
    """Results with an explanation of three patients: two slides, one of them gone; a changed file; left out."""
    files = {"A1": "a.tiff", "A2": "gone.tiff", "B1": "a.tiff"}
    patients = {"A1": "A", "A2": "A", "B1": "B"}
    pixels = np.random.default_rng(0).integers(120, 250, (1024, 1024, 3), dtype=np.uint8)
    resolution = {"resolution": (2e4, 2e4), "resolutionunit": "CENTIMETER"}  # 0.5 µm per pixel
    tifffile.imwrite(tmp_path / "a.tiff", pixels, photometric="rgb", tile=(256, 256), **resolution)
    table = pd.DataFrame({"slide_id": list(files), "patient_id": patients.values(), "path": files.values()})
    slides = tmp_path / "slides.parquet"
    write_table(table.assign(md5=None, size=None, mpp=None), SLIDES, slides, Provenance("slides"))
    results, folder = tmp_path / "R", tmp_path / "R/explanations/x"
    rows = []
    for slide_id, patient in patients.items():
        path = results / "features/demo" / f"{slide_id}.h5"
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(path, "w") as file:
            coords = file.create_dataset("coords", data=TILE_COORDS)
            coords.attrs.update(
                patch_size_level0_xy=[256, 256], patch_size=64, target_mpp=2.0, mpp_x=0.5, mpp_y=0.5,
                mpp_source="header", level0_width=1024, level0_height=1024,
            )  # fmt: skip
        rows.append(
            {"slide_id": slide_id, "patient_id": patient, "status": "done", "path": f"features/demo/{path.name}"}
        )
    index = results / "features/demo/c.parquet"
    frame = pd.DataFrame(rows, columns=list(SLIDE_INDEX.columns))
    write_table(frame, SLIDE_INDEX, index, Provenance("features_index"))
    cases = [
        explanation(folder, "A", ["A1", "A2"], hot=6, unscored=(0, 3)),
        {**explanation(folder, "B", ["B1"], hot=1), "sha256": "another"},
        {"patient_id": "C", "part": "test", "status": "left_out", "reason": "no label texts"},
    ]
    pd.DataFrame(cases).to_parquet(folder / "cases.parquet")
    return ["--explanation", folder, "--features", index, "--slides", slides, "--roots", tmp_path, "--results", results,
            "--output", tmp_path / "maps"]  # fmt: skip


def test_the_script_draws_what_it_can_and_names_the_rest(explained, tmp_path, root, monkeypatch, caplog):
    maps = tmp_path / "maps"
    maps.mkdir()
    (maps / "A2.png").write_text("of an earlier run")
    run = script_runner(root, monkeypatch, [*explained, "--parameters", '{"longest": 256, "percentiles": [0, 100]}'])
    run()
    table = read_table(maps / "heatmaps.parquet", HEATMAPS).set_index("slide_id")
    assert table["status"].to_dict() == {"A1": "drawn", "A2": "left_out", "B1": "left_out"}
    assert "gone.tiff" in table.loc["A2", "reason"] and "not the file that was listed" in table.loc["B1", "reason"]
    assert "A2 is left out" in caplog.text
    assert table.loc["A1", ["tiles", "unscored", "figure", "geojson"]].tolist() == [14, 2, "A1.png", "A1.geojson"]
    assert sorted(path.name for path in maps.iterdir()) == ["A1.geojson", "A1.png", "heatmaps.parquet"]
    features = json.loads((maps / "A1.geojson").read_text())["features"]
    corners = {tuple(feature["geometry"]["coordinates"][0][0]): feature["properties"] for feature in features}
    assert len(corners) == 14 and (0, 0) not in corners and (768, 0) not in corners  # dropped before the model
    attention = {corner: found["measurements"][0]["value"] for corner, found in corners.items()}
    assert max(attention, key=attention.get) == tuple(TILE_COORDS[6])
    assert attention[tuple(TILE_COORDS[6])] == pytest.approx(0.5 * 30)  # of 30 tiles: 15 times even attention
    # the effect rises with the row of the maps: 29 is the first scored tile, and stages are averaged
    assert corners[tuple(TILE_COORDS[1])]["measurements"][1]["value"] == pytest.approx(1.5)

    run("--task", "sex")
    again = read_table(maps / "heatmaps.parquet", HEATMAPS).set_index("slide_id")
    assert (again["status"] == "left_out").all() and "no maps of the task 'sex'" in again.loc["A1", "reason"]
    assert [path.name for path in maps.iterdir()] == ["heatmaps.parquet"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda file: file["coords"].attrs.update(level0_width=2048), r"\(1024, 1024\) pixels, \(2048, 1024\)"),
        (lambda file: file["coords"].attrs.__delitem__("mpp_x"), "not a feature file"),
        (lambda file: file["coords"].write_direct(TILE_COORDS + 8), "lacks tiles that were explained"),
    ],
)
def test_features_that_are_not_the_explained_ones_are_not_drawn(
    explained, tmp_path, root, monkeypatch, damage, message
):
    with h5py.File(tmp_path / "R/features/demo/A1.h5", "r+") as file:
        damage(file)
    script_runner(root, monkeypatch, explained)()
    table = read_table(tmp_path / "maps/heatmaps.parquet", HEATMAPS).set_index("slide_id")
    assert table.loc["A1", "status"] == "left_out"
    assert re.search(message, table.loc["A1", "reason"])


def test_no_explanation_is_an_error(explained, tmp_path, root, monkeypatch, capsys):
    (tmp_path / "R/explanations/x/cases.parquet").write_text("nothing")
    with pytest.raises(SystemExit):
        script_runner(root, monkeypatch, explained)()
    assert "not a table of explained cases" in capsys.readouterr().err
