"""Contact sheet: every slide once, what needs a look first, the same bytes every time."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pathomix.core.errors import PathomixError
from pathomix.core.provenance import Provenance
from pathomix.core.schemas import SLIDE_INDEX, SLIDES
from pathomix.core.tables import write_table
from pathomix.report.contact_sheet import COLUMNS, ROWS, draw_page, read_entries, write_contact_sheet
from pathomix.report.page import read_figure

FLAGS = {"s02": ["pen"], "s01": ["soft", "mask uncertain"]}


@pytest.fixture
def cohort(tmp_path):
    """Write results of `count` slides in two shards, the last of them quarantined."""

    def make(count: int):
        names = [f"s{number:02d}" for number in range(count)]
        slides = pd.DataFrame(
            {"slide_id": names, "patient_id": "P", "path": "x", "md5": None, "size": None, "mpp": None}
        )
        write_table(slides, SLIDES, tmp_path / "cohort_a" / "slides.parquet", Provenance("slides"))
        index = pd.DataFrame(dict.fromkeys(SLIDE_INDEX.columns), index=range(count))
        index["slide_id"], index["patient_id"], index["status"] = names, "P", "done"
        index.loc[count - 1, ["status", "reason"]] = ["quarantined", "tissue: no plausible mpp in the file"]
        paths = [tmp_path / f"tissue-{shard}.parquet" for shard in range(2)]
        for shard, path in enumerate(paths):
            write_table(index[shard::2].reset_index(drop=True), SLIDE_INDEX, path, Provenance("tissue_index"))
        for number, name in enumerate(names[:-1]):
            folder = tmp_path / "R" / "slides" / name
            folder.mkdir(parents=True, exist_ok=True)
            report = {"tissue_mm2": 0.5 + number, "flags": FLAGS.get(name, [])}
            (folder / "qc.json").write_text(json.dumps(report))
            Image.new("RGB", (300, 200 + number), (8 * number, 128, 255 - 8 * number)).save(folder / "thumbnail.jpg")
        return tmp_path / "cohort_a" / "slides.parquet", paths, tmp_path / "R", tmp_path / "sheet"

    return make


def test_quarantined_slides_come_first_then_flagged_ones(cohort):
    slides, indices, results, _ = cohort(6)
    entries = read_entries(slides, indices, results)
    assert [entry.slide_id for entry in entries] == ["s05", "s01", "s02", "s00", "s03", "s04"]
    assert [entry.standing for entry in entries] == ["quarantined", "flagged", "flagged", "fine", "fine", "fine"]
    assert entries[0].remarks == "tissue: no plausible mpp in the file" and entries[0].area_mm2 is None
    assert entries[1].remarks == "soft, mask uncertain" and entries[1].area_mm2 == 1.5


def test_pages_hold_every_slide_and_carry_their_words(cohort):
    per_page = COLUMNS * ROWS
    slides, indices, results, output = cohort(per_page + 2)
    pages = write_contact_sheet(slides, indices, results, output)
    assert [path.name for path in pages] == ["page-001.png", "page-002.png"]
    first, second = (read_figure(path) for path in pages)
    assert first.title == "Slides of cohort_a, page 1 of 2" and second.title == "Slides of cohort_a, page 2 of 2"
    assert f"{per_page + 2} slides: 1 quarantined (red, with the reason), 2 flagged" in first.description
    with Image.open(pages[0]) as whole, Image.open(pages[1]) as rest:
        assert whole.width == rest.width and whole.height > 4 * rest.height


def test_equal_inputs_give_equal_bytes_and_stale_pages_go(cohort):
    many = cohort(COLUMNS * ROWS + 2)
    write_contact_sheet(*many)
    before = [path.read_bytes() for path in sorted(many[3].iterdir())]
    write_contact_sheet(*many)
    assert [path.read_bytes() for path in sorted(many[3].iterdir())] == before
    few = cohort(4)
    write_contact_sheet(*few)
    assert [path.name for path in few[3].iterdir()] == ["page-001.png"]


def colours(tile):
    return {tuple(pixel) for pixel in np.asarray(tile).reshape(-1, 3)}


def test_tiles_show_the_thumbnail_framed_by_its_standing(cohort):
    slides, indices, results, _ = cohort(6)
    page = draw_page(read_entries(slides, indices, results))
    width = page.width // COLUMNS
    tiles = [page.crop((k * width, 0, (k + 1) * width, page.height)) for k in range(6)]
    red, orange, grey = (0xB2, 0x18, 0x2B), (0xD5, 0x5E, 0x00), (0xC9, 0xC9, 0xC9)
    assert [frame in colours(tile) for tile, frame in zip(tiles, [red, orange, orange, grey, grey, grey], strict=True)]
    assert red not in colours(tiles[1]) and orange not in colours(tiles[3])
    for tile, number in zip(tiles[1:], (1, 2, 0, 3, 4), strict=True):
        centre = np.asarray(tile)[tile.height // 3, tile.width // 2].astype(int)
        assert np.abs(centre - (8 * number, 128, 255 - 8 * number)).max() <= 3
    assert (np.asarray(tiles[0])[70:, 40:170] == 255).mean() > 0.9  # no picture, only its reason above


def test_long_names_and_reasons_stay_inside_their_tile(cohort):
    slides, indices, results, _ = cohort(3)
    entries = read_entries(slides, indices, results)
    long = [
        type(e)("x" * 300, e.standing, e.area_mm2, "a remark that goes on and on " * 40, e.thumbnail) for e in entries
    ]
    page, plain = np.asarray(draw_page(long)), np.asarray(draw_page([]))
    gap = page.shape[1] * 3 // COLUMNS
    assert (page[:, gap + 8 :] == 255).all() and (plain == 255).all()


def test_missing_rows_and_reports_are_errors(cohort):
    slides, indices, results, output = cohort(4)
    with pytest.raises(PathomixError, match="slides without a row in the indices: s01, s03"):
        write_contact_sheet(slides, indices[:1], results, output)
    (results / "slides/s00/thumbnail.jpg").unlink()
    with pytest.raises(PathomixError, match="no thumbnail"):
        write_contact_sheet(slides, indices, results, output)
    Path(results / "slides/s00/qc.json").write_text("{}")
    with pytest.raises(PathomixError, match="run segment_tissue again"):
        write_contact_sheet(slides, indices, results, output)
