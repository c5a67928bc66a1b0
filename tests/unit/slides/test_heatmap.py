"""Heatmaps lie on the slide: exact areas, a planted bright square found again, GeoJSON, bad input."""

from __future__ import annotations

import json
import math

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pathomix.core.errors import PathomixError
from pathomix.slides.backends import OpenSlideBackend
from pathomix.slides.heatmap import (
    HeatmapParameters,
    ScoredTiles,
    colour_scale,
    heatmap_figure,
    overlay,
    score_map,
    scores_geojson,
    write_heatmap,
)
from pathomix.slides.outlines import read_outlines
from pathomix.slides.reader import Slide, Thumbnail, open_slide
from pathomix.slides.scale import Scale
from pathomix.slides.tiles import Grid, TileParameters

EDGE_UM, PIXELS = 60.0, 64


def covered(corner, edge, origin, step, shape):
    """Area of one tile in each pixel, level-0 pixels squared: interval by interval, pixel by pixel."""
    area = np.zeros(shape)
    for row in range(shape[0]):
        for column in range(shape[1]):
            sides = []
            for axis, place in ((0, column), (1, row)):
                low = origin[axis] + place * step[axis]
                sides.append(max(0.0, min(low + step[axis], corner[axis] + edge[axis]) - max(low, corner[axis])))
            area[row, column] = sides[0] * sides[1]
    return area


geometry = st.fixed_dictionaries(
    {
        "edge": st.tuples(st.floats(3, 40), st.floats(3, 40)),
        "origin": st.tuples(st.integers(-20, 300), st.integers(-20, 300)),
        "step": st.tuples(st.floats(1, 17), st.floats(1, 17)),
        "shape": st.tuples(st.integers(2, 11), st.integers(2, 11)),
    }
)


@settings(max_examples=40, deadline=None)
@given(geometry, st.data())
def test_the_map_is_the_area_weighted_mean_that_brute_force_finds(where, data):
    edge, origin, step, shape = where["edge"], where["origin"], where["step"], where["shape"]
    # any positions that touch the picture: overlapping, doubled, reaching over the border
    whole = [
        st.integers(math.ceil(origin[a] - edge[a]) + 1, math.floor(origin[a] + step[a] * shape[1 - a]) - 1)
        for a in (0, 1)
    ]
    coords = np.array(data.draw(st.lists(st.tuples(*whole), min_size=1, max_size=6)))
    scores = np.array(data.draw(st.lists(st.floats(-5, 5), min_size=len(coords), max_size=len(coords))))
    found = score_map(coords, edge, scores, origin, step, shape)
    areas = np.array([covered(corner, edge, origin, step, shape) for corner in coords])
    total = areas.sum(axis=0)
    certain = (total == 0) | (total > 1e-6 * step[0] * step[1])  # below, snapping to the border decides
    with np.errstate(invalid="ignore"):
        expected = np.tensordot(scores, areas, 1) / total
    np.testing.assert_allclose(found[certain], expected[certain], rtol=1e-4, atol=1e-4)
    assert found.dtype == np.float32 and found.shape == shape


@settings(max_examples=40, deadline=None)
@given(
    pitch=st.tuples(st.floats(4, 30), st.floats(4, 30)),
    step=st.tuples(st.floats(1, 9), st.floats(1, 9)),
    origin=st.tuples(st.integers(0, 50), st.integers(0, 50)),
    cells=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=12, unique=True),
    seed=st.integers(0, 99),
)
def test_mass_is_conserved(pitch, step, origin, cells, seed):
    """Disjoint tiles inside the picture: value times covered area sums to score times tile area."""
    edge = tuple(side - 1 for side in pitch)  # positions are rounded: tiles of a full pitch may overlap by a pixel
    coords = np.rint(np.array(cells) * pitch).astype(int) + origin
    scores = np.random.default_rng(seed).normal(size=len(coords))
    shape = tuple(math.ceil(5 * pitch[a] / step[a]) + 1 for a in (1, 0))
    found = score_map(coords, edge, scores, origin, step, shape)
    area = sum(covered(corner, edge, origin, step, shape) for corner in coords)
    mass = np.nansum(found * area)
    assert mass == pytest.approx(scores.sum() * edge[0] * edge[1], rel=1e-4, abs=1e-3 * edge[0] * edge[1])
    assert (np.isfinite(found) <= (area > 0)).all()


def test_rounded_positions_of_a_fractional_pitch_leave_no_seams():
    edge = (169.7613, 127.3391)
    cells = np.stack(np.meshgrid(np.arange(40), np.arange(30)), -1).reshape(-1, 2)
    coords = np.rint(cells * edge).astype(int)
    step = (1.5, 3.0)
    shape = (int(30 * edge[1] / step[1]), int(40 * edge[0] / step[0]))
    found = score_map(coords, edge, np.full(len(coords), 0.3), (0, 0), step, shape)
    np.testing.assert_allclose(found, 0.3, rtol=1e-6)


def test_smoothing_stays_among_the_tiles_and_their_scores():
    coords = np.array([(x, y) for x in range(0, 100, 10) for y in range(0, 60, 10) if x != 50])
    scores = np.where(coords[:, 0] < 50, 1.0, 3.0)
    sharp = score_map(coords, (10, 10), scores, (0, 0), (2, 2), (30, 50))
    soft = score_map(coords, (10, 10), scores, (0, 0), (2, 2), (30, 50), smooth=1.0)
    np.testing.assert_array_equal(np.isnan(sharp), np.isnan(soft))
    assert np.nanmin(soft) >= 1 - 1e-6 and np.nanmax(soft) <= 3 + 1e-6
    assert soft[15, 24] > 1.1 and soft[15, 0] == pytest.approx(1, abs=1e-3)  # from the other side of the gap


# the planted square


class Bounded(OpenSlideBackend):
    """A slide whose scanned area does not start at the canvas origin."""

    def __init__(self, path):
        super().__init__(path)
        box = {"x": 96, "y": 160, "width": 1800, "height": 1600}
        self.properties = {**self.properties, **{f"openslide.bounds-{k}": str(v) for k, v in box.items()}}


def planted(kit, path, mpp):
    """A grey slide of 2048 pixels with a bright rectangle of 3 x 2 tiles; tiles with their mean red excess."""
    grid = Grid.of(Scale(mpp, mpp, "header"), (2048, 2048), TileParameters(PIXELS, EDGE_UM / PIXELS))
    x, y = (np.rint(np.arange(40) * pitch).astype(int) for pitch in grid.pitch)
    image = np.full((2048, 2048, 3), 120, dtype=np.uint8)
    box = x[4], y[3], x[7], y[5]
    image[box[1] : box[3], box[0] : box[2]] = (250, 40, 40)
    kit.write_slide(path, image, mpp, levels=3)
    coords = np.array([(a, b) for b in y for a in x if 96 < a < 1800 - grid.pitch[0] and 160 < b < 1600])
    return coords, grid.pitch, box


def extent(mask):
    rows, columns = np.nonzero(mask)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])


@pytest.mark.parametrize("bounds", [False, True])
@pytest.mark.parametrize(("mpp", "thumbnail_mpp"), [(0.25, 4.0), (0.5, 3.3), (0.377, 2.9)])
def test_heatmap_and_rectangles_land_on_a_planted_square(tmp_path, kit, mpp, thumbnail_mpp, bounds):
    coords, edge, box = planted(kit, tmp_path / "s.tiff", mpp)
    factory = Bounded if bounds else OpenSlideBackend
    path = tmp_path / "s.tiff"
    with Slide(path, factory, factory(path), Scale(mpp, mpp, "header")) as slide:
        side = round(edge[0])
        tiles = [slide.read(int(a), int(b), 0, side, side).astype(float) for a, b in coords]
        picture, canvas = slide.thumbnail(thumbnail_mpp), slide.dimensions
    scores = np.array([(tile[..., 0] - tile[..., 1]).mean() for tile in tiles])
    assert (scores > 100).sum() == 6 and picture.origin == ((96, 160) if bounds else (0, 0))
    shape = picture.rgb.shape[:2]
    found = score_map(coords, edge, scores, picture.origin, picture.step, shape)

    hot = extent(np.nan_to_num(found) > 0.5 * scores.max())
    seen = extent(picture.rgb[..., 0].astype(int) - picture.rgb[..., 1] > 105)  # half of the planted excess
    truth = (np.array(box) - np.tile(picture.origin, 2)) / np.tile(picture.step, 2)
    assert np.abs(hot - truth).max() <= 1
    assert np.abs(hot - seen).max() <= 1

    content = scores_geojson(ScoredTiles(coords, edge, {"red": scores}), colour_scale(scores), canvas, most=6)
    rings = np.array([feature["geometry"]["coordinates"][0] for feature in content["features"]])
    union = np.array([*rings.min(axis=(0, 1)), *rings.max(axis=(0, 1))])
    assert np.abs(union - box).max() <= 1  # level-0 pixels: only the rounding of positions

    painted = overlay(picture.rgb, found, colour_scale(scores, (0, 100)), alpha=1.0).astype(int)
    yellow = painted[..., 0] - painted[..., 2] > 100
    assert np.abs(extent(yellow & np.isfinite(found)) - truth).max() <= 1


# colours, figure, GeoJSON


def test_colours_end_at_percentiles_and_equal_scores_get_the_middle():
    scores = np.r_[np.linspace(0, 1, 1001), 50.0]
    scale = colour_scale(scores, (1, 99))
    assert (scale.low, scale.high) == tuple(np.percentile(scores, (1, 99))) and scale.largest == 50 and scale.high < 1
    ends = (np.array(mpl.colormaps["cividis"]([0.0, 1.0]))[:, :3] * 255).round()
    np.testing.assert_allclose(scale.rgb([-9.0, 50.0]), ends, atol=1)
    middle = np.array(mpl.colormaps["cividis"](0.5))[:3] * 255
    for value in (0.0, 7.0, -3e-9):
        np.testing.assert_allclose(colour_scale(np.full(5, value)).rgb([value])[0], middle, atol=1)


def test_the_overlay_leaves_pixels_without_tiles_alone():
    rgb = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    values = np.full((6, 8), np.nan, dtype=np.float32)
    values[2:4, 3:6] = 0.0
    values[3, 5] = 1.0
    scale = colour_scale([0.0, 1.0], (0, 100))
    before = rgb.copy()
    drawn = overlay(rgb, values, scale, alpha=0.5)
    np.testing.assert_array_equal(rgb, before)
    np.testing.assert_array_equal(drawn[np.isnan(values)], rgb[np.isnan(values)])
    grey = float(rgb[3, 5] @ np.array([0.2126, 0.7152, 0.0722]))
    np.testing.assert_allclose(drawn[3, 5], 0.5 * grey + 0.5 * scale.rgb(1.0).astype(float), atol=1)
    with pytest.raises(PathomixError, match="over a picture"):
        overlay(rgb, values[:5], scale)


def test_geojson_is_what_qupath_reads(tmp_path):
    coords, edge = np.array([(0, 0), (10, 0), (20, 5), (95, 95)]), (10.5, 9.75)
    scores = {"attention": np.array([0.1, 0.7, 0.7, 0.123456789]), "effect": np.arange(4.0)}
    tiles, scale = ScoredTiles(coords, edge, scores), colour_scale(scores["attention"])
    content = scores_geojson(tiles, scale, (100, 100))
    assert content["type"] == "FeatureCollection" and len(content["features"]) == 4
    for place, feature in enumerate(content["features"]):
        assert feature["type"] == "Feature" and feature["geometry"]["type"] == "Polygon"
        (ring,) = feature["geometry"]["coordinates"]
        assert ring[0] == ring[-1] and len(ring) == 5
        assert ring[0] == coords[place].tolist()
        assert ring[2] == np.minimum(coords[place] + edge, 100).tolist()  # the last tile is cut at the canvas
        properties = feature["properties"]
        assert properties["objectType"] == "tile"
        assert properties["color"] == scale.rgb(scores["attention"][place]).tolist()
        assert [m["name"] for m in properties["measurements"]] == ["attention", "effect"]
        expected = [scores[name][place] for name in scores]
        assert [m["value"] for m in properties["measurements"]] == pytest.approx(expected, rel=1e-5)
    path = tmp_path / "scores.geojson"
    path.write_text(json.dumps(content))
    assert read_outlines(path).area > 0  # valid polygons to another reader
    kept = scores_geojson(tiles, scale, (100, 100), most=2)["features"]
    assert kept == content["features"][1:3]
    assert scores_geojson(tiles, scale, (100, 100), most=1)["features"] == content["features"][1:2]


def test_the_figure_names_the_range_of_its_colours():
    thumbnail = Thumbnail(np.full((30, 50, 3), 200, dtype=np.uint8), 4.0, (0, 0), (8.0, 8.0))
    scores = np.r_[np.linspace(0.2, 0.4, 99), 9.0]
    scale = colour_scale(scores)
    figure = heatmap_figure(thumbnail, {"attention": np.full((30, 50), 0.3, np.float32)}, {"attention": scale}, "S-1")
    picture, heat, bar = figure.axes
    assert [axes.get_title(loc="left") for axes in (picture, heat)] == ["slide", "attention"]
    assert "percentiles 1 to 99" in bar.get_xlabel() and "100 tiles, 0.2 to 9" in bar.get_xlabel()
    assert [label.get_text() for label in bar.get_xticklabels()][::2] == [f"{scale.low:.3g}", f"{scale.high:.3g}"]
    # 30 x 50 pixels of 4 µm: a bar of 50 µm, a quarter of the width, is the longest of 1, 2, 5 within a third
    assert picture.texts[0].get_text() == "50 µm"
    assert picture.patches[0].get_width() == pytest.approx(50 / 4)


def test_files_are_equal_on_a_second_run_and_the_picture_is_not_enlarged(tmp_path, zoo):
    coords = [(x, y) for y in range(0, 1024, 128) for x in range(0, 1024, 128)]
    tiles = ScoredTiles(coords, (128, 128), {"attention": np.linspace(0, 1, 64), "effect": np.ones(64)})
    with open_slide(zoo / "coarse.tiff") as slide:
        first = write_heatmap(tmp_path / "a.b", slide, tiles, "coarse", HeatmapParameters(longest=200, most=10))
        content = [path.read_bytes() for path in first]
        mpl.rcParams["xtick.color"] = "red"  # a user's own settings
        try:
            again = write_heatmap(tmp_path / "a.b", slide, tiles, "coarse", HeatmapParameters(longest=200, most=10))
        finally:
            mpl.rcdefaults()
        assert slide.thumbnail(512 / 4096).rgb.shape[:2] == (1024, 1024)
    assert [path.name for path in first] == ["a.b.png", "a.b.geojson"] and again == first
    assert [path.read_bytes() for path in again] == content
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.b.geojson", "a.b.png"]
    assert len(json.loads(content[1])["features"]) == 10
    assert Image.open(first[0]).size[0] == 2160


# bad input

GOOD = {"coords": [(0, 0), (10, 0)], "edge": (10, 10), "scores": [1.0, 2.0]}
PICTURE = {"origin": (0, 0), "step": (2, 2), "shape": (20, 20)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": [1.0, np.nan]}, r"not finite at tiles \(1 of 2\): \(10, 0\)"),
        ({"scores": [np.inf, 1.0]}, r"not finite at tiles \(1 of 2\): \(0, 0\)"),
        ({"scores": [1.0]}, r"scores of shape \(1,\) for 2 tiles"),
        ({"coords": [(0, 0), (40, 0)]}, r"outside the picture \(1 of 2\): \(40, 0\)"),
        ({"coords": [(0, -10), (10, 0)]}, r"outside the picture \(1 of 2\): \(0, -10\)"),
        ({"coords": np.zeros((0, 2)), "scores": []}, "cannot be drawn"),
        ({"coords": [0, 0]}, "cannot be drawn"),
        ({"coords": [(np.nan, 0), (1, 1)]}, "cannot be drawn"),
        ({"edge": (0, 10)}, "give its width and height"),
        ({"edge": (10,)}, "give its width and height"),
    ],
)
def test_bad_tiles_are_named_never_painted(change, message):
    given = {**GOOD, **change}
    with pytest.raises(PathomixError, match=message):
        score_map(**given, **PICTURE)
    scores = np.nan_to_num(np.r_[np.asarray(given["scores"], dtype=float), 0.0], posinf=0)
    tiles = ScoredTiles(given["coords"], given["edge"], {"score": given["scores"]})
    with pytest.raises(PathomixError, match=message.replace("picture", "canvas of 40 x 40")):
        scores_geojson(tiles, colour_scale(scores), (40, 40))


@pytest.mark.parametrize(
    "change",
    [{"longest": 0}, {"most": 0}, {"percentiles": (5.0, 5.0)}, {"percentiles": (-1.0, 50.0)}, {"alpha": 0.0},
     {"smooth": -1.0}, {"smooth": math.nan}],
)  # fmt: skip
def test_parameters_that_cannot_draw_are_refused(change):
    with pytest.raises(PathomixError, match="heatmap: "):
        HeatmapParameters(**change).checked()


def test_no_scores_have_no_scale():
    with pytest.raises(PathomixError, match="0 of 0"):
        colour_scale([])
    with pytest.raises(PathomixError, match="1 of 2"):
        colour_scale([1.0, np.nan])
