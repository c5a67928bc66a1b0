"""Files in TRIDENT's and CLAM's conventions (spec 2.4), made here by hand: read, refused with both numbers, written."""

from __future__ import annotations

import json

import cv2
import h5py
import numpy as np
import openslide
import pytest

from pathomix.core.errors import PathomixError
from pathomix.core.schemas import SLIDE_INDEX
from pathomix.core.tables import read_table
from pathomix.slides.coords import read_coords
from pathomix.slides.cut import cut_shard
from pathomix.slides.interchange import clam_patch_size, imported_corners, overlap_of, read_foreign_coords
from pathomix.slides.reader import open_scaled
from pathomix.slides.scale import Scale
from pathomix.slides.segment import segment_shard
from pathomix.slides.tile_reader import TileReader
from pathomix.slides.tiles import Grid, TileParameters

CORNERS = np.array([[0, 0], [256, 0], [0, 256], [1024, 768]])
# of a slide of 2048 x 2048 pixels at 0.25 µm: 64 px at 1 µm are 256 px of level 0
TRIDENT = {"patch_size": 64, "patch_size_level0": 256, "level0_magnification": 40, "target_magnification": 10}
TRIDENT |= {"overlap": 0, "name": "x", "savetodir": "/somewhere", "level0_width": 2048, "level0_height": 2048}
CLAM = {"patch_size": 128, "patch_level": 1, "downsample": (2.0, 2.0), "downsampled_level_dim": (1024, 1024)}
CLAM |= {"level_dim": (1024, 1024), "name": "x", "save_path": "/somewhere"}
PARAMETERS = TileParameters(64, 1.0)
SCALE = Scale(0.25, 0.25, "header")
GRID = Grid.of(SCALE, (2048, 2048), PARAMETERS)


def foreign(path, attributes, coords=CORNERS, **more):
    with h5py.File(path, "w") as file:
        data = file.create_dataset("coords", data=coords, chunks=(1, 2), maxshape=(None, coords.shape[1]))
        for name, value in {**attributes, **more}.items():
            data.attrs[name] = value
    return path


@pytest.mark.parametrize(
    ("attributes", "convention", "overlap"),
    [
        (TRIDENT, "trident", 0),
        ({k: v for k, v in TRIDENT.items() if k not in ("patch_size_level0", "overlap")}, "trident", None),
        ({**TRIDENT, "overlap": "None", "level0_width": "None"}, "trident", None),
        (CLAM, "clam", None),
        ({**CLAM, "downsample": 2.0}, "clam", None),
        ({**CLAM, "patch_size": 64, "custom_downsample": 2}, "clam", None),
        ({**CLAM, **TRIDENT}, "trident", 0),
    ],
)
def test_both_conventions_are_read(tmp_path, attributes, convention, overlap):
    file = read_foreign_coords(foreign(tmp_path / "x.h5", attributes, CORNERS.astype(np.float32)))
    assert (file.convention, file.footprint, file.overlap) == (convention, (256.0, 256.0), overlap)
    assert file.coords.dtype == np.int64
    np.testing.assert_array_equal(imported_corners(file, SCALE, GRID, PARAMETERS), CORNERS)


def test_overlap_is_stated_or_the_most_frequent_distance(tmp_path):
    grid = np.array([[x, y] for y in (0, 10) for x in (0, 192, 384, 576, 600)])
    for attributes, expected in ((CLAM, 16), ({**TRIDENT, "overlap": 8}, 8)):
        assert overlap_of(read_foreign_coords(foreign(tmp_path / "x.h5", attributes, grid)), GRID) == expected
    assert overlap_of(read_foreign_coords(foreign(tmp_path / "x.h5", CLAM, grid[:1])), GRID) == 0


@pytest.mark.parametrize(
    ("attributes", "coords", "message"),
    [
        ({}, CORNERS, "neither of TRIDENT .* found: none"),
        ({"patch_size": 64, "patch_level": 0}, CORNERS, "neither of TRIDENT .* found: patch_level, patch_size"),
        ({**TRIDENT, "target_magnification": 0, "patch_size": "x"}, CORNERS, "attributes cannot be read"),
        (CLAM, CORNERS + 0.5, r"not whole level-0 pixels: \(0\.5, 0\.5\)"),
        (CLAM, np.full((2, 2), np.nan), "not whole level-0 pixels"),
        (CLAM, np.zeros((3, 4)), "not numbers"),
        (CLAM, np.zeros((3, 2), dtype="S3"), "not numbers"),
    ],
)
def test_files_of_neither_convention_are_refused(tmp_path, attributes, coords, message):
    with pytest.raises(PathomixError, match=message):
        read_foreign_coords(foreign(tmp_path / "x.h5", attributes, coords))


def test_files_that_are_none_are_refused(tmp_path):
    (tmp_path / "text.h5").write_text("coords")
    with h5py.File(tmp_path / "group.h5", "w") as file:
        file.create_group("coords")
    with h5py.File(tmp_path / "features.h5", "w") as file:
        file["features"] = np.zeros((2, 2))
    for name in ("text.h5", "group.h5", "features.h5"):
        with pytest.raises(PathomixError, match="not a coordinate file"):
            read_foreign_coords(tmp_path / name)
    with pytest.raises(PathomixError, match="no such coordinate file"):
        read_foreign_coords(tmp_path / "absent.h5")


@pytest.mark.parametrize(
    ("attributes", "coords", "scale", "message"),
    [
        (TRIDENT, CORNERS, Scale(0.265, 0.265, "header"), r"64 pixels is 1\.06 µm .* 64px_1mpp has 1"),
        (CLAM, CORNERS, Scale(0.25, 0.27, "header"), r"64 pixels is 1\.08 µm"),
        ({**TRIDENT, "patch_size_level0": 512}, CORNERS, SCALE, r"512 level-0 pixels wide, .* is 2 µm"),
        (
            {**TRIDENT, "level0_width": 4096},
            CORNERS,
            SCALE,
            r"slide of \(4096, 2048\) pixels, this one has \(2048, 2048",
        ),
        (CLAM, CORNERS - 1, SCALE, r"3 tiles start outside the canvas of 2048 x 2048 pixels: \(-1, -1\)"),
        (CLAM, CORNERS * 2, SCALE, r"1 tiles start outside the canvas .*: \(2048, 1536\)"),
        (CLAM, np.repeat(CORNERS, 2, axis=0)[:3], SCALE, r"there twice: \(0, 0\);"),
        (TRIDENT, np.zeros((0, 2)), SCALE, "no tiles"),
    ],
)
def test_coordinates_of_something_else_are_refused(tmp_path, attributes, coords, scale, message):
    file = read_foreign_coords(foreign(tmp_path / "x.h5", attributes, coords))
    with pytest.raises(PathomixError, match=message):
        imported_corners(file, scale, GRID, PARAMETERS)


def test_a_deviation_of_less_than_five_percent_is_accepted(tmp_path):
    file = read_foreign_coords(foreign(tmp_path / "x.h5", TRIDENT))
    assert len(imported_corners(file, Scale(0.2521, 0.261, "header"), GRID, PARAMETERS)) == 4


@pytest.fixture
def cut(zoo, slide_table, tmp_path, kit):
    """Tissue and tiles of three slides; `imported` as the script takes it."""
    results = tmp_path / "R"
    table = slide_table({"a": "fine.tiff", "b": "fine.tiff", "odd": "fine_one_level.tiff"})
    segment_shard(table, zoo, 0, 1, kit.tissue, results, results / "tissue.parquet")

    def run(tiling=(64, 1.0), imported=None, parameters=None):
        index = results / "tiles.parquet"
        cut_shard(results / "tissue.parquet", table, zoo, tiling, parameters or {}, results, index, "", imported)
        return read_table(index, SLIDE_INDEX).set_index("slide_id")

    run.results = results
    return run


def test_given_coordinates_are_taken_instead_of_cutting(cut, tmp_path):
    (tmp_path / "theirs").mkdir()
    inside = np.array([[768, 1280], [512, 512], [0, 0], [1900, 512]])
    foreign(tmp_path / "theirs" / "a.h5", TRIDENT, inside, overlap=4)
    foreign(tmp_path / "theirs" / "b.h5", {**TRIDENT, "patch_size_level0": 300}, inside)
    template = str(tmp_path / "theirs" / "{slide_id}.h5")
    index = cut(imported=template)
    assert index["status"].tolist() == ["done", "quarantined", "quarantined"]
    assert "300 level-0 pixels wide" in index.loc["b", "reason"]
    assert "odd.h5: no such coordinate file" in index.loc["odd", "reason"]
    path = cut.results / index.loc["a", "path"]
    file = read_coords(path)
    assert file.coords.tolist() == [[0, 0], [512, 512], [1900, 512], [768, 1280]] and file.flags.tolist() == [
        0,
        0,
        2,
        0,
    ]
    with h5py.File(path) as stored:
        share = stored["tissue_fraction"][:]
        provenance = json.loads(stored.attrs["pathomix"])
    assert share[0] == 0 and share[3] > 0.9  # they choose, we measure
    a = file.attributes
    assert (a["imported_from"], a["imported_convention"], a["overlap"], a["min_tissue"]) == ("a.h5", "trident", 4, 0)
    assert a["patch_size_level0_xy"] == [256, 256] and "imported" in provenance["inputs"]
    stamp = path.stat().st_mtime_ns
    assert cut(imported=template).loc["a", "tiles"] == 4 and path.stat().st_mtime_ns == stamp
    foreign(tmp_path / "theirs" / "a.h5", CLAM, inside[:2])  # another file is another key
    assert cut(imported=template).loc["a", "tiles"] == 2
    assert cut().loc["a", "tiles"] > 20 and "imported_from" not in read_coords(path).attributes
    with pytest.raises(PathomixError, match="one file for all slides"):
        cut(imported=str(tmp_path / "theirs" / "a.h5"))


def test_our_own_file_is_read_back_like_tridents(cut, tmp_path):
    index = cut((64, 1.3), parameters={"overlap": 16})
    ours = read_coords(cut.results / index.loc["a", "path"])
    (cut.results / index.loc["a", "path"]).rename(tmp_path / "a.h5")
    assert cut((64, 1.3), str(tmp_path / "{slide_id}.h5")).loc["a", "tiles"] == len(ours.coords)
    again = read_coords(cut.results / index.loc["a", "path"])
    np.testing.assert_array_equal(again.coords, ours.coords)
    assert again.attributes["overlap"] == 16


def read_like_clam(path, slide_path, size):
    """`patch_size` pixels of `patch_level` from each corner, then the encoder's own resize."""
    with h5py.File(path) as file, openslide.OpenSlide(slide_path) as slide:
        a, coords = file["coords"].attrs, file["coords"][:]
        side = int(a["patch_size"])
        regions = [slide.read_region(tuple(c), int(a["patch_level"]), (side, side)) for c in coords.tolist()]
    return np.stack([cv2.resize(np.array(r)[..., :3], (size, size), interpolation=cv2.INTER_AREA) for r in regions])


def read_like_trident(path, slide_path):
    """`patch_size_level0` pixels of level 0, reduced to `patch_size`."""
    with h5py.File(path) as file, openslide.OpenSlide(slide_path) as slide:
        a, coords = file["coords"].attrs, file["coords"][:]
        edge, size = int(a["patch_size_level0"]), int(a["patch_size"])
        regions = [slide.read_region(tuple(c), 0, (edge, edge)) for c in coords.tolist()]
    return np.stack([cv2.resize(np.array(r)[..., :3], (size, size), interpolation=cv2.INTER_AREA) for r in regions])


@pytest.mark.parametrize(("tiling", "resized"), [((64, 1.0), False), ((64, 1.3), True), ((64, 0.5), False)])
def test_other_programs_read_the_same_pixels_from_what_we_write(cut, zoo, tiling, resized):
    index = cut(tiling, parameters={"min_tissue": 0.5})
    ours = cut.results / index.loc["a", "path"]
    export = ours.with_name(ours.name.replace(".coords.", ".clam."))
    file = read_coords(ours)
    assert file.attributes["resized"] == resized == export.exists()
    with open_scaled(zoo / "fine.tiff", file.scale) as slide:
        reader = TileReader(slide, file.size, file.mpp)
        tiles = np.stack([reader.tile(x, y) for x, y in file.coords])
    clam = read_like_clam(export if resized else ours, zoo / "fine.tiff", tiling[0])
    assert np.abs(clam.astype(int) - tiles).max() <= 1
    # from level 0 instead of a level: the same place, at most half a level pixel off
    assert np.abs(read_like_trident(ours, zoo / "fine.tiff").astype(int) - tiles).mean() < 2.5
    if resized:
        read = read_foreign_coords(export)
        assert read.convention == "clam" and read.footprint[0] == pytest.approx(64 * 1.3 / 0.25, rel=0.01)
        np.testing.assert_array_equal(read.coords, file.coords)


def test_no_clam_file_where_a_tile_is_no_square_of_its_level(cut, slide_table, zoo, kit, tmp_path, image):
    assert clam_patch_size({"patch_size_level": [166, 166]}) == 166
    assert clam_patch_size({"patch_size_level": [160, 166]}) is None
    kit.write_slide(tmp_path / "uneven.tiff", kit.halved(image[0]), (0.5, 0.52))
    results = tmp_path / "uneven"
    table = slide_table({"u": str(tmp_path / "uneven.tiff")})
    segment_shard(table, zoo, 0, 1, kit.tissue, results, results / "tissue.parquet")
    cut_shard(results / "tissue.parquet", table, zoo, (64, 1.0), {}, results, results / "tiles.parquet")
    assert [path.name for path in sorted((results / "slides" / "u").glob("*.h5"))] == ["64px_1mpp.coords.h5"]
