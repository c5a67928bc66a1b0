"""First slide stage: open, settle the scale, find the tissue; outlines, thumbnail and quality figures per slide."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pathomix.core.errors import PathomixError
from pathomix.core.files import content_key, file_digest, shard_of, write_json
from pathomix.core.provenance import Provenance
from pathomix.core.schemas import SLIDES
from pathomix.core.tables import read_table
from pathomix.slides.outlines import mask_polygons, read_outlines, write_outlines, write_overlay
from pathomix.slides.reader import Slide, Thumbnail, open_slide, resample
from pathomix.slides.scale import ScaleRules
from pathomix.slides.stage import Row, given, parameters_from, run_stage, slide_folder, slide_path, write_index
from pathomix.slides.tissue import Mask, clean, find_masker, focus_measure, focus_positions, pen_mask

log = logging.getLogger(__name__)

STAGE = "tissue"
_FOCUS_MPP = 1.0
_FOCUS_PIXELS = 128
_OVERLAY_PIXELS = 1024


@dataclass(frozen=True)
class TissueParameters:
    """Parameters of the tissue stage.

    Attributes:
        masker: Name in `pathomix.slides.tissue.MASKERS`.
        thumbnail_mpp: µm per pixel at which the masker looks.
        min_area_mm2: Smaller pieces are dropped.
        max_hole_mm2: Smaller holes are filled.
        close_um: Radius of the closing.
        allow_objective: Believe the objective power where no mpp is known.
        mpp_window: Smallest and largest plausible µm per pixel.
    """

    masker: str = "colour"
    thumbnail_mpp: float = 8.0
    min_area_mm2: float = 0.05
    max_hole_mm2: float = 0.01
    close_um: float = 24.0
    allow_objective: bool = False
    mpp_window: tuple[float, float] = (0.05, 5.0)

    @property
    def rules(self) -> ScaleRules:
        """What may be believed about the scale."""
        return ScaleRules(self.allow_objective, self.mpp_window)


def segment_shard(
    slides_path: Path,
    root: Path,
    shard: int,
    shards: int,
    parameters: Mapping[str, Any],
    results: Path,
    index: Path,
    code: str = "",
) -> None:
    """Segment the slides of one shard and write their index.

    Args:
        slides_path: SLIDES table of the cohort.
        root: Folder that relative slide paths start from.
        shard: Number of this shard.
        shards: Number of shards.
        parameters: Fields of `TissueParameters`.
        results: Results folder.
        index: SLIDE_INDEX table to write.
        code: Digest of the code, part of every slide's key: a slide made by other code is made again.

    Raises:
        PathomixError: The parameters are wrong; a bad slide is quarantined instead.
    """
    settings = parameters_from(TissueParameters, parameters, "slides.tissue")
    find_masker(settings.masker)
    slides = read_table(slides_path, SLIDES)
    mine = slides[[shard_of(slide, shards) == shard for slide in slides["slide_id"]]]
    rows = [{str(key): value for key, value in record.items()} for record in mine.to_dict("records")]

    def files(row: Row) -> list[Path]:
        folder = slide_folder(results, row["slide_id"])
        names = ("thumbnail.jpg", "tissue.geojson", "qc.json")
        return [] if outlines_edited(folder) else [folder / name for name in names]

    frame = run_stage(STAGE, rows, lambda row: segment_slide(row, root, settings, results, code), files)
    write_index(frame, index, "tissue_index", {"slides": slides_path}, {**parameters, "shard": shard, "shards": shards})


def segment_slide(row: Row, root: Path, settings: TissueParameters, results: Path, code: str = "") -> dict[str, Any]:
    """Write `tissue.geojson`, `thumbnail.jpg` and `qc.json` of one slide, unless they are there with the same key.

    `qc.json` is written last: where it is, the others are. Outlines that a person edited are never overwritten.

    Returns:
        The slide's columns of SLIDE_INDEX.

    Raises:
        PathomixError: The slide cannot be used; the message says why.
    """
    path = slide_path(row, root)
    folder = slide_folder(results, row["slide_id"])
    outlines, report = folder / "tissue.geojson", folder / "qc.json"
    md5 = checked_md5(row, path)
    mpp = given(row, "mpp")
    parameters = dataclasses.asdict(settings)
    key = content_key(slide=md5, table_mpp=mpp, parameters=parameters, code=code)
    quality = _report(report)
    if quality.get("key") != key or not outlines.is_file():
        kept = quality["outlines_sha256"] if outlines_edited(folder) and quality["md5"] == md5 else None
        if kept is None:
            report.unlink(missing_ok=True)  # a run killed after the outlines must not take them for edited ones
        with open_slide(path, mpp, settings.rules) as slide:
            quality = _segment(slide, settings, folder, keep_outlines=kept is not None)
        quality |= {
            "key": key,
            "md5": md5,
            "slide_id": row["slide_id"],
            "outlines_sha256": kept or file_digest(outlines),
        }
        quality["provenance"] = Provenance("tissue", inputs={"md5": md5}, parameters=parameters).to_dict()
        write_json(report, quality)
    return {
        "path": outlines.relative_to(results).as_posix(),
        "sha256": file_digest(outlines),
        "key": key,
        "mpp": (quality["mpp_x"] * quality["mpp_y"]) ** 0.5,
        "mpp_source": quality["mpp_source"],
    }


def outlines_edited(folder: Path) -> bool:
    """Whether a person changed `tissue.geojson` since it was written."""
    recorded = _report(folder / "qc.json").get("outlines_sha256")
    outlines = folder / "tissue.geojson"
    return recorded is not None and outlines.is_file() and file_digest(outlines) != recorded


def checked_md5(row: Row, path: Path) -> str:
    """The table's md5, or the file's where the table has none.

    Raises:
        PathomixError: No such file, or its size is not the table's (an interrupted download).
    """
    if not path.is_file():
        raise PathomixError(f"{path}: no such file", remedy="correct the column path of the slide table")
    expected, size = given(row, "size"), path.stat().st_size
    if expected is not None and int(expected) != size:
        raise PathomixError(
            f"{path.name}: {size} bytes, the slide table says {int(expected)}", remedy="fetch the file again"
        )
    md5 = given(row, "md5")
    return str(md5) if md5 is not None else file_digest(path, "md5")


def _report(path: Path) -> dict[str, Any]:
    """The content of `qc.json`; empty where there is none or a damaged one."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _segment(slide: Slide, settings: TissueParameters, folder: Path, *, keep_outlines: bool) -> dict[str, Any]:
    thumbnail = slide.thumbnail(settings.thumbnail_mpp)
    mask = clean(
        find_masker(settings.masker)(thumbnail.rgb, thumbnail.mpp),
        thumbnail.mpp,
        close_um=settings.close_um,
        min_area_mm2=settings.min_area_mm2,
        max_hole_mm2=settings.max_hole_mm2,
    )
    if not mask.any() and not keep_outlines:
        raise PathomixError(
            f"{slide.path.name}: no tissue of at least {settings.min_area_mm2:g} mm² found",
            remedy="lower slides.tissue.min_area_mm2 for small specimens, or leave the slide out",
        )
    if keep_outlines:
        polygons = list(read_outlines(folder / "tissue.geojson").geoms)
    else:
        polygons = mask_polygons(mask, thumbnail.origin, thumbnail.step)
        write_outlines(folder / "tissue.geojson", polygons)
    reduction = min(1.0, _OVERLAY_PIXELS / max(mask.shape))
    size = max(1, round(mask.shape[1] * reduction)), max(1, round(mask.shape[0] * reduction))
    step = thumbnail.step[0] * mask.shape[1] / size[0], thumbnail.step[1] * mask.shape[0] / size[1]
    write_overlay(folder / "thumbnail.jpg", resample(thumbnail.rgb, size), polygons, thumbnail.origin, step)
    return quality_report(slide, thumbnail, mask)


def quality_report(slide: Slide, thumbnail: Thumbnail, mask: Mask) -> dict[str, Any]:
    """Figures for people and for filters: areas in mm², shares of the scanned area, focus, scale and its origin."""
    pen = pen_mask(thumbnail.rgb, thumbnail.mpp)
    fields = [_focus(slide, thumbnail, x, y) for x, y in focus_positions(mask)]
    return {
        "tissue_mm2": float(mask.sum()) * (thumbnail.mpp / 1000) ** 2,
        "tissue_share": float(mask.mean()),
        "pen_share": float(pen.mean()),
        "focus_median": float(np.median(fields)) if fields else None,
        "focus_lowest": float(np.min(fields)) if fields else None,
        "mpp_x": slide.scale.x,
        "mpp_y": slide.scale.y,
        "mpp_source": slide.scale.source,
        "vendor": slide.properties.get("openslide.vendor"),
        "icc_present": "openslide.icc-size" in slide.properties,
        "bounds": list(slide.bounds),
        "level_dimensions": [list(size) for size in slide.level_dimensions],
        "level_downsamples": list(slide.level_downsamples),
        "thumbnail_mpp": thumbnail.mpp,
    }


def _focus(slide: Slide, thumbnail: Thumbnail, x: int, y: int) -> float:
    """Focus of a square field at about 1 µm per pixel around a mask pixel."""
    wanted = max(1.0, _FOCUS_MPP / slide.scale.mean)
    level = max((i for i, d in enumerate(slide.level_downsamples) if d <= wanted * 1.01), default=0)
    downsample = slide.level_downsamples[level]
    side = max(8, round(_FOCUS_PIXELS * wanted / downsample))
    centre = np.array(thumbnail.origin) + (np.array([x, y]) + 0.5) * thumbnail.step
    corner = np.rint(centre - side * downsample / 2).astype(int)
    pixels = slide.read(int(corner[0]), int(corner[1]), level, side, side)
    return focus_measure(resample(pixels, (_FOCUS_PIXELS, _FOCUS_PIXELS)))
