"""Second slide stage: tissue outlines to tile coordinates. Opens the slide for its dimensions only."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py

from pathomix.core.errors import PathomixError
from pathomix.core.files import content_key, file_digest
from pathomix.core.provenance import Provenance
from pathomix.core.schemas import SLIDES
from pathomix.core.tables import read_table
from pathomix.slides.coords import interchange_attributes, stored_key, tissue_attributes, write_coords
from pathomix.slides.outlines import read_outlines
from pathomix.slides.reader import choose_level, open_scaled
from pathomix.slides.scale import Scale
from pathomix.slides.stage import Row, joined_rows, parameters_from, run_stage, slide_folder, slide_path, write_index
from pathomix.slides.tiles import Grid, TileParameters, select_tiles

STAGE = "tiles"


def cut_shard(
    tissue_index: Path,
    slides_path: Path,
    root: Path,
    parameters: Mapping[str, Any],
    results: Path,
    index: Path,
    code: str = "",
) -> None:
    """Cut the slides of a tissue index into tiles and write the index of coordinate files.

    Args:
        tissue_index: SLIDE_INDEX of the tissue stage.
        slides_path: SLIDES table of the cohort.
        root: Folder that relative slide paths start from.
        parameters: Fields of `TileParameters`.
        results: Results folder.
        index: SLIDE_INDEX table to write.
        code: Digest of the code, part of every slide's key: a slide made by other code is made again.

    Raises:
        PathomixError: The parameters are wrong; a bad slide is quarantined instead.
    """
    settings = parameters_from(TileParameters, parameters, "slides.tiles").checked()
    rows = joined_rows(tissue_index, read_table(slides_path, SLIDES))
    frame = run_stage(
        STAGE,
        rows,
        lambda row: cut_slide(row, root, settings, results, code),
        lambda row: [slide_folder(results, row["slide_id"]) / "coords.h5"],
    )
    write_index(frame, index, "tiles_index", {"tissue": tissue_index}, parameters)


def cut_slide(row: Row, root: Path, settings: TileParameters, results: Path, code: str = "") -> dict[str, Any]:
    """Write `coords.h5` of one slide, unless it is there with the same key.

    Returns:
        The slide's columns of SLIDE_INDEX.

    Raises:
        PathomixError: The slide or its outlines cannot be read, or no tile has enough tissue.
    """
    folder = slide_folder(results, row["slide_id"])
    outlines, target = folder / "tissue.geojson", folder / "coords.h5"
    quality = _quality(folder / "qc.json")
    digest = file_digest(outlines) if outlines.is_file() else "missing"
    scale = Scale(quality["mpp_x"], quality["mpp_y"], quality["mpp_source"])
    key = content_key(
        code=code,
        slide=quality["md5"],
        outlines=digest,
        scale=dataclasses.asdict(scale),
        parameters=dataclasses.asdict(settings),
    )
    if stored_key(target, "coords") != key:
        tissue = read_outlines(outlines)
        with open_scaled(slide_path(row, root), scale) as slide:
            grid = Grid.of(scale, slide.dimensions, settings)
            choice = choose_level(slide.level_downsamples, min(grid.downsample), slide.path.name)
            attributes = interchange_attributes(slide, row["slide_id"], grid, choice, settings)
        tiles = select_tiles(tissue, grid, settings.min_tissue)
        if not len(tiles.coords):
            raise PathomixError(
                f"{row['slide_id']}: no tile has {settings.min_tissue:.0%} tissue",
                remedy="lower slides.tiles.min_tissue or size, or leave the slide out",
            )
        attributes |= tissue_attributes(quality) | {"key": key, "slide_md5": quality["md5"]}
        inputs = {"slide_md5": quality["md5"], "tissue": digest}
        write_coords(
            target, tiles, attributes, Provenance("coords", inputs=inputs, parameters=dataclasses.asdict(settings))
        )
    with h5py.File(target, "r") as file:
        count = len(file["coords"])
    return {
        "path": target.relative_to(results).as_posix(),
        "sha256": file_digest(target),
        "key": key,
        "tiles": count,
        "mpp": scale.mean,
        "mpp_source": scale.source,
    }


def _quality(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PathomixError(f"{path}: cannot be read ({error})", remedy="run segment_tissue again") from error
    if not isinstance(content, dict):
        raise PathomixError(f"{path}: not a quality report", remedy="run segment_tissue again")
    return content
