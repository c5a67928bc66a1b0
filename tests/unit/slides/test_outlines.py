"""Mask to polygons and back, GeoJSON as QuPath reads it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from pathomix.core.errors import PathomixError
from pathomix.slides.outlines import feature_collection, mask_polygons, read_outlines, write_outlines, write_overlay

ORIGIN, STEP = (40, 24), (16.0, 15.5)


def rasterised(geometry, shape):
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]]
    return shapely.contains_xy(geometry, ORIGIN[0] + (x + 0.5) * STEP[0], ORIGIN[1] + (y + 0.5) * STEP[1])


@settings(max_examples=60, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_polygons_hold_exactly_the_mask_pixels(mask):
    union = shapely.union_all(mask_polygons(mask, ORIGIN, STEP))
    np.testing.assert_array_equal(rasterised(union, mask.shape), mask)


def test_holes_islands_and_ids():
    mask = np.zeros((30, 30), dtype=bool)
    mask[2:20, 2:20] = True
    mask[5:15, 5:15] = False
    mask[8:11, 8:11] = True  # an island in the hole
    mask[24:28, 24:28] = True
    polygons = mask_polygons(mask, (0, 0), (1.0, 1.0))
    assert [len(polygon.interiors) for polygon in polygons] == [1, 0, 0]
    assert [round(polygon.area) for polygon in polygons] == pytest.approx([18 * 18 - 100, 9, 16], abs=1)
    content = feature_collection(polygons)
    assert [feature["properties"]["tissue_id"] for feature in content["features"]] == [1, 2, 3]


def test_round_trip_and_what_qupath_needs(tmp_path):
    mask = np.random.default_rng(0).random((40, 60)) > 0.5
    polygons = mask_polygons(mask, ORIGIN, STEP)
    path = tmp_path / "tissue.geojson"
    write_outlines(path, polygons)
    first = path.read_bytes()
    write_outlines(path, polygons)
    assert path.read_bytes() == first
    tissue = read_outlines(path)
    assert tissue.is_valid
    assert tissue.symmetric_difference(shapely.union_all(polygons)).area < 1e-3 * tissue.area
    np.testing.assert_array_equal(rasterised(tissue, mask.shape), mask)
    content = json.loads(first)
    assert content["type"] == "FeatureCollection"
    for feature in content["features"]:
        assert feature["type"] == "Feature" and feature["geometry"]["type"] == "Polygon"
        assert feature["properties"]["objectType"] == "annotation"
        assert all(ring[0] == ring[-1] for ring in feature["geometry"]["coordinates"])


def test_an_edited_file_is_read(tmp_path):
    square = {"type": "Polygon", "coordinates": [[[0, 0], [10, 0], [10, 10], [0, 10], [0, 0]]]}
    bow_tie = {"type": "MultiPolygon", "coordinates": [[[[5, 5], [15, 15], [15, 5], [5, 15], [5, 5]]]]}
    features = [{"type": "Feature", "geometry": g, "properties": {}} for g in (square, bow_tie)]
    path = tmp_path / "edited.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    assert read_outlines(path).area == pytest.approx(100 + 50 - 12.5)
    path.write_text(json.dumps(features[0]))
    assert read_outlines(path).area == 100


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"type": "FeatureCollection"}', '{"type": "FeatureCollection", "features": []}',
     '{"type": "Feature", "geometry": null}',
     '{"type": "Feature", "geometry": {"type": "Point", "coordinates": [1, 2]}}'],
)  # fmt: skip
def test_a_file_without_outlines_is_an_error_that_names_it(tmp_path, content):
    path = tmp_path / "broken.geojson"
    path.write_text(content)
    with pytest.raises(PathomixError, match=r"broken\.geojson"):
        read_outlines(path)


def test_the_overlay_draws_the_outline(tmp_path):
    mask = np.zeros((50, 80), dtype=bool)
    mask[10:40, 20:60] = True
    polygons = mask_polygons(mask, ORIGIN, STEP)
    write_overlay(tmp_path / "t.jpg", np.full((50, 80, 3), 255, dtype=np.uint8), polygons, ORIGIN, STEP)
    drawn = np.asarray(Image.open(tmp_path / "t.jpg")).astype(int)
    green = drawn[..., 1] - drawn[..., 0] > 60
    rows, columns = np.nonzero(green)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == pytest.approx((10, 40, 20, 60), abs=1)
