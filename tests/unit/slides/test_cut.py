"""Tiling stage: same tissue at two scales, interchange attributes, keys, quarantine."""

from __future__ import annotations

import json

import pytest
import shapely

from pathomix.core.errors import PathomixError
from pathomix.core.schemas import SLIDE_INDEX
from pathomix.core.tables import read_table
from pathomix.slides.coords import read_coords
from pathomix.slides.cut import cut_shard
from pathomix.slides.segment import segment_shard


@pytest.fixture
def cut(zoo, slide_table, tmp_path, kit):
    results = tmp_path / "R"

    def run(files, parameters=kit.tiles, code="", tissue=kit.tissue, **columns):
        table = slide_table(files, **columns)
        segment_shard(table, zoo, 0, 1, tissue, results, results / "tissue.parquet")
        return again(table, parameters, code)

    def again(table, parameters=kit.tiles, code="", imported=None):
        selection = {key: value for key, value in parameters.items() if key not in ("size", "mpp")}
        tiling = parameters["size"], parameters["mpp"]
        index = results / "tiles.parquet"
        cut_shard(results / "tissue.parquet", table, zoo, tiling, selection, results, index, code, imported)
        return read_table(results / "tiles.parquet", SLIDE_INDEX).set_index("slide_id")

    run.again = again
    run.results = results
    return run


def covered(path, mpp):
    file = read_coords(path)
    width, height = file.attributes["patch_size_level0_xy"]
    x, y = file.coords.T
    return shapely.transform(shapely.union_all(shapely.box(x, y, x + width, y + height)), lambda p: p * mpp)


@pytest.mark.parametrize("mpp", [0.5, 1.0])
def test_the_same_tissue_gives_the_same_tiles_at_two_scales(cut, mpp):
    names = ("fine", "fine_one_level", "coarse", "coarse_one_level")
    index = cut({name: f"{name}.tiff" for name in names}, {"mpp": mpp, "size": 64})
    areas = [covered(cut.results / index.loc[n, "path"], 0.25 if "fine" in n else 0.5) for n in names]
    for area in areas[1:]:
        assert areas[0].intersection(area).area / areas[0].union(area).area > 0.98
    assert len(set(index["tiles"])) == 1 and index["tiles"].iloc[0] > 20


def test_a_level_that_is_resampled_says_so(cut):
    cut({"a": "coarse_one_level.tiff"}, {"mpp": 1.3, "size": 64})
    file = read_coords(cut.results / "slides" / "a" / "64px_1.3mpp.coords.h5")
    assert file.attributes["resized"] and file.attributes["resize_filter"] == "area"
    assert file.attributes["patch_size_level"] == [166, 166] == file.attributes["patch_size_level0_xy"]


def test_skip_rewrite_and_quarantine(cut, slide_table):
    cut({"a": "coarse.tiff", "bad": "no_mpp.tiff"})
    table = cut.results.parent / "slides.parquet"
    path = cut.results / "slides" / "a" / "64px_1mpp.coords.h5"
    first, stamp = path.read_bytes(), path.stat().st_mtime_ns
    index = cut.again(table)
    assert path.stat().st_mtime_ns == stamp
    assert index.loc["bad", "reason"].startswith("tissue: ")
    path.write_bytes(first[:100])  # a damaged file is made again, equal to the byte
    cut.again(table)
    assert path.read_bytes() == first
    for change in ({"parameters": {"mpp": 1.0, "size": 64, "overlap": 8}}, {"code": "new"}):
        cut.again(table, **change)
        assert path.read_bytes() != first
        cut.again(table)
        assert path.read_bytes() == first
    for _ in range(2):
        index = cut.again(table, {"mpp": 1.0, "size": 256, "min_tissue": 1.0})
        assert "tiles: a: no tile has 100% tissue" in index.loc["a", "reason"]
    other = path.with_name("256px_1mpp.coords.h5")
    assert path.read_bytes() == first and not other.exists()  # tilings do not touch each other's files
    assert cut.again(table, {"mpp": 1.0, "size": 256, "min_tissue": 0.1}).loc["a", "status"] == "done"
    cut.again(table, {"mpp": 1.0, "size": 256, "min_tissue": 1.0})
    assert not other.exists() and path.exists()  # none of an earlier run is mistaken


def test_a_slide_coarser_than_the_target_is_quarantined(cut):
    index = cut({"a": "coarse.tiff", "b": "fine.tiff"}, {"mpp": 0.25, "size": 128})
    assert "tiles: coarse.tiff: its pixels are 2.00 times coarser" in index.loc["a", "reason"]
    assert index.loc["b", "status"] == "done"


def test_edited_outlines_move_the_tiles_and_broken_ones_are_quarantined(cut):
    cut({"a": "coarse.tiff", "b": "coarse.tiff"})
    table = cut.results.parent / "slides.parquet"
    square = {"type": "Polygon", "coordinates": [[[0, 0], [256, 0], [256, 256], [0, 256], [0, 0]]]}
    (cut.results / "slides" / "a" / "tissue.geojson").write_text(json.dumps({"type": "Feature", "geometry": square}))
    (cut.results / "slides" / "b" / "tissue.geojson").write_text("{")
    index = cut.again(table)
    coords = read_coords(cut.results / "slides" / "a" / "64px_1mpp.coords.h5").coords
    assert coords.tolist() == [[0, 0], [128, 0], [0, 128], [128, 128]]
    assert "not a GeoJSON" in index.loc["b", "reason"]


def test_an_index_of_other_slides_is_refused(cut, slide_table):
    cut({"a": "coarse.tiff"})
    with pytest.raises(PathomixError, match="the slide table does not have: a"):
        cut.again(slide_table({"other": "coarse.tiff"}))
