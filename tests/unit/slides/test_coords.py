"""The coordinate file: every attribute that TRIDENT, CLAM and spec 2.4 name, and what is refused."""

from __future__ import annotations

import json
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from pathomix.core.errors import PathomixError
from pathomix.core.provenance import Provenance
from pathomix.slides.coords import (
    interchange_attributes,
    magnification,
    read_coords,
    stored_key,
    tissue_attributes,
    write_coords,
)
from pathomix.slides.reader import Slide, choose_level
from pathomix.slides.scale import Scale
from pathomix.slides.tiles import Grid, TileParameters, Tiles

TRIDENT = {
    "patch_size", "patch_size_level0", "level0_magnification", "target_magnification", "overlap", "name", "savetodir",
    "level0_width", "level0_height",
}  # fmt: skip
CLAM = {"patch_size", "patch_level", "downsample", "downsampled_level_dim", "level_dim", "name", "save_path"}
OWN = {
    "mpp_x", "mpp_y", "mpp_source", "target_mpp", "level_read", "resize_filter", "bounds_xywh", "background_rgb",
    "tissue_method", "tissue_params_json", "quickhash1", "pipeline_version", "coords_frame",
}  # fmt: skip


class Canvas:
    """A slide of which only the header exists."""

    def __init__(self, sizes, properties):
        self.properties = properties
        self.level_dimensions = sizes
        self.level_downsamples = tuple(sizes[0][0] / width for width, _ in sizes)


@pytest.fixture
def written(tmp_path):
    """A coordinate file of a slide of three levels (the second lies), and what went in."""

    def write(parameters, scale):
        properties = {"openslide.quickhash-1": "abc", "openslide.background-color": "F0F1F2"}
        backend = Canvas(((8000, 4000), (3000, 2000), (2000, 1000)), properties)
        backend.level_downsamples = (1.0, 2.0, 4.0)
        slide = Slide(tmp_path / "a.svs", None, backend, scale)
        grid = Grid.of(scale, slide.dimensions, parameters)
        choice = choose_level(slide.level_downsamples, min(grid.downsample))
        attributes = interchange_attributes(slide, "a", grid, choice, parameters)
        attributes |= tissue_attributes({"provenance": {"parameters": {"masker": "colour"}}})
        attributes |= {"key": "k", "slide_md5": "m"}
        coords = np.array([[0, 0], [256, 0]])
        tiles = Tiles(coords, np.array([0.5, 1.0], dtype=np.float32), np.array([0, 2], dtype=np.uint8))
        path = tmp_path / "a.h5"
        write_coords(path, tiles, attributes, Provenance("coords", parameters={"overlap": parameters.overlap}))
        return SimpleNamespace(path=path, tiles=tiles)

    return write


def test_all_attributes_of_trident_clam_and_ours_are_there(written):
    file = written(TileParameters(64, 1.0, 16), Scale(0.25, 0.25, "header"))
    with h5py.File(file.path) as stored:
        coords = stored["coords"]
        a = dict(coords.attrs)
        assert coords.dtype == np.int64 and coords.shape == (2, 2) and coords.maxshape == (None, 2)
        assert stored["tissue_fraction"].dtype == np.float32 and stored["flags"].dtype == np.uint8
        assert json.loads(stored.attrs["pathomix"])["parameters"] == {"overlap": 16}
    assert set(a) >= TRIDENT | CLAM | OWN | {"key", "slide_md5", "tiling", "resized", "patch_size_level"}
    trident = {"patch_size": 64, "patch_size_level0": 256, "level0_magnification": 40, "target_magnification": 10}
    trident |= {"overlap": 16, "name": "a", "level0_width": 8000, "level0_height": 4000}
    assert {key: a[key] for key in trident} == trident
    # the file's own numbering, although the lying level 1 is not used
    assert a["patch_level"] == a["level_read"] == 2 and not a["resized"] and a["resize_filter"] == "none"
    assert a["downsample"].tolist() == [4, 4] and a["level_dim"].tolist() == [2000, 1000]
    assert a["background_rgb"].tolist() == [240, 241, 242] and a["bounds_xywh"].tolist() == [0, 0, 8000, 4000]
    assert (a["quickhash1"], a["coords_frame"], a["tissue_method"]) == ("abc", "level0", "colour")
    assert a["tiling"] == "64px_1mpp"


def test_a_file_is_read_as_it_was_written(written):
    file = written(TileParameters(64, 0.5), Scale(0.26, 0.25, "table"))
    back = read_coords(file.path)
    np.testing.assert_array_equal(back.coords, file.tiles.coords)
    np.testing.assert_array_equal(back.flags, file.tiles.flags)
    assert (back.scale, back.size, back.mpp) == (Scale(0.26, 0.25, "table"), 64, 0.5)
    assert (back.key, back.slide_md5) == ("k", "m") and stored_key(file.path, "coords") == "k"
    assert back.attributes["patch_size_level"] == [123, 128] == back.attributes["patch_size_level0_xy"]
    assert back.attributes["resized"] and back.attributes["resize_filter"] == "area"


def test_magnification_bins_are_tridents():
    pairs = [(0.12, 80), (0.1725, 60), (0.2521, 40), (0.5, 20), (0.65, 10), (1.0, 10), (2.0, 5), (4.0, 2.5)]
    assert [magnification(mpp) for mpp, _ in pairs] == [value for _, value in pairs]


def test_a_foreign_file_is_refused(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["coords"] = np.zeros((3, 2))
    for path in (tmp_path / "x.h5", tmp_path / "absent.h5"):
        with pytest.raises(PathomixError, match="not a coordinate file"):
            read_coords(path)
        assert stored_key(path, "coords") is None
