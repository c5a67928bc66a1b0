"""Tissue stage: outlines against the planted tissue, quality figures, quarantine, keys, edited outlines."""

from __future__ import annotations

import json
import shutil

import pandas as pd
import pytest
import shapely
from PIL import Image

from pathomix.core.errors import PathomixError
from pathomix.core.files import file_digest, shard_of
from pathomix.core.schemas import SLIDE_INDEX
from pathomix.core.tables import read_table
from pathomix.slides.outlines import read_outlines
from pathomix.slides.segment import segment_shard

BAD = {
    "no_mpp": "no plausible mpp in the file",
    "absurd_mpp": "no plausible mpp (header says 352.8",
    "anisotropic": "mpp 0.5 along x and 0.6 along y differ by 17%",
    "no_tissue": "no tissue of at least 0.005 mm²",
    "truncated": "OpenSlide cannot open it",
    "text": "OpenSlide cannot open it",
    "absent": "no such file",
    "short": "the slide table says 1",
    "plain": "if it is a plain image, give its mpp",
}
FILES = {**{name: f"{name}.tiff" for name in BAD}, "plain": "plain.png", "short": "fine.tiff"}


@pytest.fixture
def segment(zoo, slide_table, tmp_path, kit):
    def run(files, parameters=kit.tissue, shard=0, shards=1, code="", root=zoo, overrides=None, known=(), **columns):
        table = slide_table(files, **columns)
        index = tmp_path / "R" / "slides" / "C" / f"tissue-{shard}.parquet"
        segment_shard(table, root, shard, shards, parameters, tmp_path / "R", index, code, overrides, known)
        return read_table(index, SLIDE_INDEX).set_index("slide_id")

    return run


def folder(tmp_path, slide):
    return tmp_path / "R" / "slides" / slide


def contents(path):
    return {p.name: (file_digest(p), p.stat().st_mtime_ns) for p in path.iterdir()}


def test_bad_slides_are_quarantined_with_their_reason_and_good_ones_survive(segment, tmp_path):
    index = segment({"good": "coarse.tiff", **FILES, "last": "plain.png"}, mpp={"last": 0.5}, size={"short": 1})
    assert index.loc[["good", "last"], "status"].eq("done").all()
    assert index.loc[["good", "last"], "mpp_source"].tolist() == ["header", "table"]
    for name, reason in BAD.items():
        assert index.loc[name, "status"] == "quarantined"
        assert reason in index.loc[name, "reason"] and index.loc[name, "reason"].startswith("tissue: ")
        assert not folder(tmp_path, name).exists()


@pytest.mark.parametrize("name", ["fine", "fine_one_level", "coarse", "coarse_one_level"])
def test_outlines_and_area_match_the_planted_tissue(segment, tmp_path, image, name):
    segment({name: f"{name}.tiff"})
    mpp = 0.25 if name.startswith("fine") else 0.5
    tissue = read_outlines(folder(tmp_path, name) / "tissue.geojson")
    side = 512 / mpp
    disk = shapely.Point(0.38 * side, 0.45 * side).buffer(0.3 * side)
    hole = shapely.Point(0.33 * side, 0.42 * side).buffer(0.09 * side)
    ellipse = shapely.transform(shapely.Point(0, 0).buffer(1), lambda p: (p * [0.12, 0.22] + [0.82, 0.7]) * side)
    truth = disk.difference(hole).union(ellipse)
    assert tissue.intersection(truth).area / tissue.union(truth).area > 0.92
    quality = json.loads((folder(tmp_path, name) / "qc.json").read_text())
    planted = image[1].mean() * 0.512**2
    assert quality["tissue_mm2"] == pytest.approx(planted, rel=0.06)
    assert quality["tissue_share"] == pytest.approx(image[1].mean(), rel=0.06)
    assert (quality["mpp_x"], quality["mpp_source"]) == (pytest.approx(mpp), "header")
    assert quality["level_dimensions"][0] == [side, side] and quality["pen_share"] == 0
    assert quality["focus_median"] > 0
    assert max(Image.open(folder(tmp_path, name) / "thumbnail.jpg").size) == 128


def test_a_rerun_skips_finished_slides_and_is_deterministic(segment, tmp_path):
    segment({"a": "coarse.tiff"})
    first = contents(folder(tmp_path, "a"))
    segment({"a": "coarse.tiff"})
    assert contents(folder(tmp_path, "a")) == first
    shutil.rmtree(tmp_path / "R")
    segment({"a": "coarse.tiff"})
    assert {k: v[0] for k, v in contents(folder(tmp_path, "a")).items()} == {k: v[0] for k, v in first.items()}


@pytest.mark.parametrize("change", ["parameters", "code", "slide", "damaged_report", "lost_outlines", "table_mpp"])
def test_nothing_stale_survives(segment, tmp_path, kit, change):
    before = segment({"a": "coarse.tiff"})
    first = contents(folder(tmp_path, "a"))
    files, options = {"a": "coarse.tiff"}, {}
    if change == "parameters":
        options = {"parameters": {**kit.tissue, "close_um": 20.0}}
    elif change == "code":
        options = {"code": "new"}
    elif change == "slide":
        files = {"a": "fine.tiff"}
    elif change == "table_mpp":
        options = {"mpp": {"a": 0.49}}
    elif change == "damaged_report":
        (folder(tmp_path, "a") / "qc.json").write_text("{")
    else:
        (folder(tmp_path, "a") / "tissue.geojson").unlink()
    after = segment(files, **options)
    second = contents(folder(tmp_path, "a"))
    assert all(second[name][1] != first[name][1] for name in ("tissue.geojson", "thumbnail.jpg", "qc.json"))
    if change in ("damaged_report", "lost_outlines"):
        assert after.loc["a", "key"] == before.loc["a", "key"]
    else:
        assert after.loc["a", "key"] != before.loc["a", "key"]


def test_files_of_an_earlier_run_go_when_the_slide_is_quarantined(segment, tmp_path):
    segment({"a": "coarse.tiff"})
    assert segment({"a": "no_tissue.tiff"}).loc["a", "status"] == "quarantined"
    assert not list(folder(tmp_path, "a").iterdir())


def test_outlines_edited_by_hand_are_honoured_and_never_overwritten(segment, tmp_path, kit):
    before = segment({"a": "coarse.tiff"})
    outlines = folder(tmp_path, "a") / "tissue.geojson"
    square = {"type": "Polygon", "coordinates": [[[0, 0], [300, 0], [300, 300], [0, 300], [0, 0]]]}
    edited = json.dumps({"type": "FeatureCollection", "features": [{"type": "Feature", "geometry": square}]})
    outlines.write_text(edited)
    for options in ({}, {"parameters": {**kit.tissue, "close_um": 20.0}}, {"code": "new"}):
        after = segment({"a": "coarse.tiff"}, **options)
        assert outlines.read_text() == edited
        assert after.loc["a", "sha256"] == file_digest(outlines) != before.loc["a", "sha256"]
    segment({"a": "absent.tiff"})
    assert outlines.read_text() == edited
    segment({"a": "fine.tiff"})  # another file under the same id: the old drawing is about something else
    assert outlines.read_text() != edited


def test_shards_part_the_slides(segment):
    files = {f"s{i}": "coarse.tiff" for i in range(6)}
    seen = [set(segment(files, shard=k, shards=3).index) for k in range(3)]
    assert set().union(*seen) == set(files) and sum(map(len, seen)) == 6
    assert all(shard_of(slide, 3) == k for k in range(3) for slide in seen[k])


def test_an_empty_table_gives_an_empty_index(segment):
    assert len(segment({})) == 0


def test_unknown_keys_and_maskers_end_the_job(segment):
    with pytest.raises(PathomixError, match="unknown keys"):
        segment({"a": "coarse.tiff"}, parameters={"masque": 1})
    with pytest.raises(PathomixError, match="no tissue masker"):
        segment({"a": "coarse.tiff"}, parameters={"masker": "magic"})


def test_the_index_is_readable_elsewhere(segment, tmp_path):
    index = segment({"a": "coarse.tiff"})
    assert index.loc["a", "path"] == "slides/a/tissue.geojson"
    assert pd.isna(index.loc["a", "tiles"]) and index.loc["a", "mpp"] == pytest.approx(0.5)


@pytest.fixture
def overrides(tmp_path):
    def write(text):
        path = tmp_path / "overrides.tsv"
        path.write_text("slide_id\tmpp\tmasker\texclude\tnote\n" + text)
        return path

    return write


def test_overrides_change_the_slides_they_name_and_no_other(segment, overrides, tmp_path):
    files = {s: "coarse.tiff" for s in "abcd"}
    before = segment(files)
    kept = contents(folder(tmp_path, "d"))
    table = overrides("a\t0.4\n" + "b\t\tluminance\n" + "c\t\t\tmouse tissue\n")
    after = segment(files, overrides=table)
    assert contents(folder(tmp_path, "d")) == kept and after.loc["d", "key"] == before.loc["d", "key"]
    assert (after.loc[["a", "b"], "key"] != before.loc[["a", "b"], "key"]).all()
    assert (after.loc["a", "mpp"], after.loc["a", "mpp_source"]) == (pytest.approx(0.4), "override")
    quality = {s: json.loads((folder(tmp_path, s) / "qc.json").read_text()) for s in "abd"}
    assert quality["a"]["override"] == {"mpp": 0.4} and "override" in quality["a"]["flags"]
    assert quality["a"]["tissue_mm2"] == pytest.approx(quality["d"]["tissue_mm2"] * 0.64, rel=0.03)
    assert (quality["b"]["masker"], quality["d"]["masker"]) == ("luminance", "colour")
    assert after.loc["c", "status"] == "quarantined" and "mouse tissue" in after.loc["c", "reason"]
    assert not list(folder(tmp_path, "c").iterdir())
    noted = overrides("a\t0.4\t\t\twhy\n")
    assert segment(files, overrides=noted).loc["a", "key"] == after.loc["a", "key"]  # a note is for people


def test_overrides_rescue_a_slide_without_scale(segment, overrides):
    index = segment({"a": "no_mpp.tiff", "b": "plain.png"}, overrides=overrides("a\t0.5\nb\t0.5\n"))
    assert index["status"].eq("done").all() and index["mpp_source"].eq("override").all()


def test_wrong_overrides_end_the_job(segment, overrides, slide_table, tmp_path):
    with pytest.raises(PathomixError, match=r"slides that no slide table has .*did you mean slide_1"):
        segment({"slide_1": "coarse.tiff"}, overrides=overrides("slide_l\t0.5\n"))
    with pytest.raises(PathomixError, match="no tissue masker 'magic'"):
        segment({"a": "coarse.tiff"}, overrides=overrides("a\t\tmagic\n"))
    with pytest.raises(PathomixError, match="hest needs its weights"):
        segment({"a": "coarse.tiff"}, overrides=overrides("a\t\thest\n"))
    other = tmp_path / "other.parquet"
    shutil.copy(slide_table({"elsewhere": "coarse.tiff"}), other)
    segment({"a": "coarse.tiff"}, overrides=overrides("elsewhere\t0.5\n"), known=[other])


def test_the_report_and_the_picture_follow_an_edited_outline(segment, tmp_path):
    segment({"a": "coarse.tiff"})
    picture = file_digest(folder(tmp_path, "a") / "thumbnail.jpg")
    square = {"type": "Polygon", "coordinates": [[[0, 0], [400, 0], [400, 400], [0, 400], [0, 0]]]}
    outlines = folder(tmp_path, "a") / "tissue.geojson"
    outlines.write_text(json.dumps({"type": "Feature", "geometry": square}))
    segment({"a": "coarse.tiff"})
    quality = json.loads((folder(tmp_path, "a") / "qc.json").read_text())
    assert quality["tissue_mm2"] == pytest.approx(0.04) and quality["tissue_share"] == pytest.approx(400**2 / 1024**2)
    assert quality["outlines_edited"] and "edited by hand" in quality["flags"]
    assert file_digest(folder(tmp_path, "a") / "thumbnail.jpg") != picture
    first = contents(folder(tmp_path, "a"))
    segment({"a": "coarse.tiff"})
    assert contents(folder(tmp_path, "a")) == first
    outlines.write_text("{")
    broken = segment({"a": "coarse.tiff"})
    assert "not a GeoJSON" in broken.loc["a", "reason"] and outlines.read_text() == "{"


def test_tissue_that_is_all_artefact_is_named_as_such(segment, kit, image, tmp_path, monkeypatch):
    inked = kit.halved(image[0])
    inked[200:800, 200:800] = (40, 60, 150)
    inked[:, :200] = inked[:, 800:] = inked[:200] = inked[800:] = 243
    kit.write_slide(tmp_path / "ink.tiff", inked, 0.5, levels=2)
    index = segment({"a": "ink.tiff"}, root=tmp_path)
    assert "no tissue of at least 0.005 mm² found" in index.loc["a", "reason"]
    monkeypatch.setattr("pathomix.slides.find_tissue.blurred_mask", lambda _, tissue, *__, **___: tissue)
    index = segment({"a": "coarse.tiff"})
    assert "left: 0% of it under ink, 100% out of focus" in index.loc["a", "reason"]
