"""First slide stage: open, settle the scale, find the tissue; outlines, thumbnail and quality figures per slide."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from shapely.geometry import Polygon

from pathomix.core.errors import PathomixError
from pathomix.core.files import content_key, file_digest, shard_of, write_json
from pathomix.core.provenance import Provenance
from pathomix.core.schemas import SLIDES
from pathomix.core.tables import read_table
from pathomix.slides.find_tissue import FoundTissue, Networks, find_tissue
from pathomix.slides.outlines import mask_polygons, read_outlines, write_outlines, write_overlay
from pathomix.slides.overrides import Override, check_known, read_overrides
from pathomix.slides.quality import flags_of, quality_report
from pathomix.slides.reader import Slide, Thumbnail, open_slide, resample
from pathomix.slides.stage import Row, given, parameters_from, run_stage, slide_folder, slide_path, write_index
from pathomix.slides.tissue import drop_small, find_masker
from pathomix.slides.tissue_parameters import TISSUE_NETWORKS, TissueParameters

log = logging.getLogger(__name__)

STAGE = "tissue"
_OVERLAY_PIXELS = 1024
_DRAWN_ARTEFACT_MM2 = 0.001  # smaller ones would only speckle the picture


def segment_shard(
    slides_path: Path,
    root: Path,
    shard: int,
    shards: int,
    parameters: Mapping[str, Any],
    results: Path,
    index: Path,
    code: str = "",
    overrides: Path | None = None,
    known_slides: Sequence[Path] = (),
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
        overrides: Table of corrections for single slides (`pathomix.slides.overrides`).
        known_slides: SLIDES tables of the other cohorts that share the overrides table.

    Raises:
        PathomixError: The parameters or the overrides are wrong; a bad slide is quarantined instead.
    """
    settings = parameters_from(TissueParameters, parameters, "slides.tissue")
    slides = read_table(slides_path, SLIDES)
    corrections = _corrections(overrides, [slides_path, *known_slides])
    networks = Networks(settings)
    for masker in {settings.masker, *(c.masker for c in corrections.values() if c.masker)}:
        if masker not in TISSUE_NETWORKS:
            find_masker(masker)
        networks.digests(masker)
    mine = slides[[shard_of(slide, shards) == shard for slide in slides["slide_id"]]]
    rows = [{str(key): value for key, value in record.items()} for record in mine.to_dict("records")]

    def files(row: Row) -> list[Path]:
        folder = slide_folder(results, row["slide_id"])
        names = ("thumbnail.jpg", "tissue.geojson", "qc.json")
        return [] if outlines_edited(folder) else [folder / name for name in names]

    def work(row: Row) -> dict[str, Any]:
        override = corrections.get(row["slide_id"], Override())
        return segment_slide(row, root, settings, results, code, override, networks)

    frame = run_stage(STAGE, rows, work, files)
    inputs = {"slides": slides_path} | ({"overrides": overrides} if overrides else {})
    write_index(frame, index, "tissue_index", inputs, {**parameters, "shard": shard, "shards": shards})


def _corrections(overrides: Path | None, tables: Sequence[Path]) -> dict[str, Override]:
    if overrides is None:
        return {}
    found = read_overrides(overrides)
    check_known(found, [slide for path in tables for slide in read_table(path, SLIDES)["slide_id"]], overrides)
    return found


def segment_slide(
    row: Row,
    root: Path,
    settings: TissueParameters,
    results: Path,
    code: str = "",
    override: Override | None = None,
    networks: Networks | None = None,
) -> dict[str, Any]:
    """Write `tissue.geojson`, `thumbnail.jpg` and `qc.json` of one slide, unless they are there with the same key.

    `qc.json` is written last: where it is, the others are. Outlines that a person edited are never overwritten; picture
    and report are made again to show them.

    Args:
        row: The slide's row of the slide table.
        root: Folder that relative slide paths start from.
        settings: Parameters.
        results: Results folder.
        code: Digest of the code.
        override: What the overrides table says about this slide; part of its key.
        networks: Networks of the job.

    Returns:
        The slide's columns of SLIDE_INDEX.

    Raises:
        PathomixError: The slide cannot be used, or is excluded; the message says why.
    """
    override, networks = override or Override(), networks or Networks(settings)
    if override.exclude:
        remedy = "to use it, remove its entry in the column exclude"
        raise PathomixError(f"excluded in the overrides table: {override.exclude}", remedy=remedy)
    path = slide_path(row, root)
    folder = slide_folder(results, row["slide_id"])
    outlines, report = folder / "tissue.geojson", folder / "qc.json"
    md5 = checked_md5(row, path)
    mpp = given(row, "mpp")
    masker = override.masker or settings.masker
    parameters = dataclasses.asdict(settings) | {"masker": masker}
    special = {"override": override.changes, "weights": networks.digests(masker)}
    key = content_key(
        slide=md5,
        table_mpp=mpp,
        parameters={name: value for name, value in parameters.items() if name != "masker_weights"},  # not their place
        code=code,
        **{name: value for name, value in special.items() if value},
    )
    quality = _report(report)
    if quality.get("key") != key or not outlines.is_file() or quality.get("shown_sha256") != file_digest(outlines):
        kept = quality["outlines_sha256"] if outlines_edited(folder) and quality["md5"] == md5 else None
        if kept is None:
            report.unlink(missing_ok=True)  # a run killed after the outlines must not take them for edited ones
        with open_slide(path, mpp, settings.rules, override.mpp) as slide:
            thumbnail = slide.thumbnail(settings.thumbnail_mpp)
            found = find_tissue(slide, thumbnail, settings, masker, networks)
            polygons = _outlines(slide, thumbnail, found, settings, outlines if kept else None)
            if kept is None:
                write_outlines(outlines, polygons)
            _picture(folder / "thumbnail.jpg", thumbnail, found, polygons)
            quality = quality_report(slide, thumbnail, found, polygons, override.changes)
        quality |= {
            "key": key,
            "md5": md5,
            "slide_id": row["slide_id"],
            "masker": masker,
            "outlines_edited": kept is not None,
            "outlines_sha256": kept or file_digest(outlines),
            "shown_sha256": file_digest(outlines),
        }
        quality["flags"] = flags_of(quality)
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


def _outlines(
    slide: Slide, thumbnail: Thumbnail, found: FoundTissue, settings: TissueParameters, edited: Path | None
) -> list[Polygon]:
    """The outlines in use: a person's, else those of the mask."""
    if edited is not None:
        return list(read_outlines(edited).geoms)
    if found.mask.any():
        return mask_polygons(found.mask, thumbnail.origin, thumbnail.step)
    area, name = f"{settings.min_area_mm2:g} mm²", slide.path.name
    if found.whole.any():
        pen, blurred = (int((mask & found.whole).sum()) / int(found.whole.sum()) for mask in (found.pen, found.blurred))
        raise PathomixError(
            f"{name}: no tissue of at least {area} left: {pen:.0%} of it under ink, {blurred:.0%} out of focus",
            remedy="switch off slides.tissue.exclude_pen or exclude_blur, or leave the slide out",
        )
    raise PathomixError(
        f"{name}: no tissue of at least {area} found",
        remedy="lower slides.tissue.min_area_mm2 for small specimens, or leave the slide out",
    )


def _picture(path: Path, thumbnail: Thumbnail, found: FoundTissue, polygons: Sequence[Polygon]) -> None:
    taken = found.pen | (found.blurred & ~found.mask)
    artefacts = mask_polygons(drop_small(taken, thumbnail.mpp, _DRAWN_ARTEFACT_MM2), thumbnail.origin, thumbnail.step)
    shape = found.mask.shape
    reduction = min(1.0, _OVERLAY_PIXELS / max(shape))
    size = max(1, round(shape[1] * reduction)), max(1, round(shape[0] * reduction))
    step = thumbnail.step[0] * shape[1] / size[0], thumbnail.step[1] * shape[0] / size[1]
    write_overlay(path, resample(thumbnail.rgb, size), polygons, thumbnail.origin, step, artefacts)
