"""Tissue outlines: mask to polygons, GeoJSON that QuPath opens and a person may edit, outline drawn on a thumbnail."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage
from shapely.geometry import MultiPolygon, Polygon, mapping, shape
from skimage.measure import find_contours

from pathomix.core.errors import PathomixError
from pathomix.core.files import atomic_path, write_text

_OUTLINE = (0, 160, 0)
_ARTEFACT = (213, 94, 0)
_JPEG_QUALITY = 85


def mask_polygons(mask: NDArray[np.bool_], origin: tuple[int, int], step: tuple[float, float]) -> list[Polygon]:
    """One polygon with holes per 4-connected object, in level-0 pixels, in raster order of their first pixel.

    Args:
        mask: bool [h, w].
        origin: Level-0 pixel of the mask's upper left corner.
        step: Level-0 pixels per mask pixel along x and y.
    """
    labels, _ = ndimage.label(mask)
    polygons = []
    for number, window in enumerate(ndimage.find_objects(labels), start=1):
        piece = np.pad(labels[window] == number, 1)
        # contours run half-way between pixel centres: index i of the padded piece is mask coordinate i - 1 + 0.5
        corner = np.array([window[1].start - 0.5, window[0].start - 0.5])
        rings = [
            (ring[:, ::-1] + corner) * step + origin
            for ring in find_contours(piece.astype(np.float32), 0.5, fully_connected="low")  # type: ignore[no-untyped-call]
        ]
        shells = sorted((Polygon(ring) for ring in rings), key=lambda ring: ring.area, reverse=True)
        outline = Polygon(shells[0].exterior.coords, [hole.exterior.coords for hole in shells[1:]])
        outline = outline.simplify(min(step) / 4)  # straight runs of edge points; keeps the topology
        polygons.extend(_valid_parts(outline))
    return polygons


def _valid_parts(geometry: Any) -> list[Polygon]:
    if not geometry.is_valid:
        geometry = shapely.make_valid(geometry)
    parts = geometry.geoms if hasattr(geometry, "geoms") else [geometry]
    return [part for part in parts if isinstance(part, Polygon) and part.area > 0]


def feature_collection(polygons: list[Polygon]) -> dict[str, Any]:
    """GeoJSON FeatureCollection in level-0 pixels; `tissue_id` counts from 1; classified for QuPath."""
    features = [
        {
            "type": "Feature",
            "geometry": mapping(shapely.transform(polygon, lambda points: np.round(points, 2))),
            "properties": {
                "tissue_id": number,
                "objectType": "annotation",
                "classification": {"name": "Tissue", "color": list(_OUTLINE)},
            },
        }
        for number, polygon in enumerate(polygons, start=1)
    ]
    return {"type": "FeatureCollection", "features": features}


def write_outlines(path: Path, polygons: list[Polygon]) -> None:
    """Write `feature_collection` atomically."""
    write_text(path, json.dumps(feature_collection(polygons)) + "\n")


def read_outlines(path: Path) -> MultiPolygon:
    """The tissue of a GeoJSON file, ours or edited in QuPath, as one valid geometry in level-0 pixels.

    Raises:
        PathomixError: The file is missing or is no GeoJSON, or holds no area.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        features = content["features"] if content.get("type") == "FeatureCollection" else [content]
        shapes = [shape(feature["geometry"]) for feature in features]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, shapely.errors.ShapelyError) as error:
        raise PathomixError(
            f"{path}: not a GeoJSON of tissue outlines ({type(error).__name__}: {error})",
            remedy="delete it to have it made again, or export it from QuPath as a FeatureCollection",
        ) from error
    parts = _valid_parts(shapely.union_all([shapely.make_valid(item) for item in shapes]))
    if not parts:
        raise PathomixError(f"{path}: holds no tissue area", remedy="draw at least one polygon, or leave the slide out")
    return MultiPolygon(parts)


def write_overlay(
    path: Path,
    rgb: NDArray[np.uint8],
    polygons: Sequence[Polygon],
    origin: tuple[int, int],
    step: tuple[float, float],
    artefacts: Sequence[Polygon] = (),
) -> None:
    """JPEG of the thumbnail with the outline of the tissue in green and of what was taken out of it in orange."""
    image = Image.fromarray(rgb)
    draw = ImageDraw.Draw(image)
    width = max(1, round(max(image.size) / 400))
    for group, colour in ((polygons, _OUTLINE), (artefacts, _ARTEFACT)):
        for polygon in group:
            for ring in (polygon.exterior, *polygon.interiors):
                points = (np.asarray(ring.coords) - origin) / step
                draw.line([tuple(point) for point in points], fill=colour, width=width)
    with atomic_path(path) as temporary:
        image.save(temporary, format="JPEG", quality=_JPEG_QUALITY)
