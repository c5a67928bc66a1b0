"""Second slide stage: tissue outlines to tile coordinates. Opens the slide for its dimensions only."""

from __future__ import annotations

import dataclasses
import json
import logging
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
from pathomix.slides.interchange import (
    clam_patch_size,
    imported_corners,
    overlap_of,
    read_foreign_coords,
    write_clam_coords,
)
from pathomix.slides.outlines import read_outlines
from pathomix.slides.reader import choose_level, open_scaled
from pathomix.slides.scale import Scale
from pathomix.slides.stage import (
    Row,
    coords_path,
    joined_rows,
    parameters_from,
    run_stage,
    slide_folder,
    slide_path,
    write_index,
)
from pathomix.slides.tiles import Grid, SelectionParameters, TileParameters, Tiles, given_tiles, select_tiles

log = logging.getLogger(__name__)

STAGE = "tiles"
_SLIDE_ID = "{slide_id}"


def cut_shard(
    tissue_index: Path,
    slides_path: Path,
    root: Path,
    tiling: tuple[int, float],
    parameters: Mapping[str, Any],
    results: Path,
    index: Path,
    code: str = "",
    imported: str | None = None,
) -> None:
    """Cut the slides of a tissue index into tiles of one tiling and write the index of coordinate files.

    Args:
        tissue_index: SLIDE_INDEX of the tissue stage.
        slides_path: SLIDES table of the cohort.
        root: Folder that relative slide paths start from.
        tiling: Tile edge in pixels and µm per pixel, as the encoder wants them.
        parameters: Fields of `SelectionParameters`.
        results: Results folder.
        index: SLIDE_INDEX table to write.
        code: Digest of the code, part of every slide's key: a slide made by other code is made again.
        imported: Path of the coordinate files to take instead of cutting, with ``{slide_id}`` in it.

    Raises:
        PathomixError: The parameters are wrong; a bad slide is quarantined instead.
    """
    selection = parameters_from(SelectionParameters, parameters, "slides.tiles")
    settings = TileParameters(*tiling, **dataclasses.asdict(selection)).checked()
    if imported is not None and _SLIDE_ID not in imported:
        raise PathomixError(
            f"the template of imported coordinates, {imported}, names one file for all slides",
            remedy=f"write {_SLIDE_ID} where the slide's id stands",
        )
    rows = joined_rows(tissue_index, read_table(slides_path, SLIDES))
    frame = run_stage(
        STAGE,
        rows,
        lambda row: cut_slide(row, root, settings, results, code, imported),
        lambda row: _files(results, row["slide_id"], settings),
    )
    recorded = {**dataclasses.asdict(settings), "imported": imported}
    write_index(frame, index, "tiles_index", {"tissue": tissue_index}, recorded)


def cut_slide(
    row: Row, root: Path, settings: TileParameters, results: Path, code: str = "", imported: str | None = None
) -> dict[str, Any]:
    """Write the coordinate file of one slide, unless it is there with the same key.

    Where pixels are resampled, a second file `<tiling>.clam.h5` says the same in CLAM's convention.

    Returns:
        The slide's columns of SLIDE_INDEX.

    Raises:
        PathomixError: The slide or its outlines cannot be read, or no tile has enough tissue.
    """
    folder = slide_folder(results, row["slide_id"])
    outlines, (target, clam) = folder / "tissue.geojson", _files(results, row["slide_id"], settings)
    quality = _quality(folder / "qc.json")
    foreign = None if imported is None else Path(imported.replace(_SLIDE_ID, str(row["slide_id"])))
    if foreign is not None and not foreign.is_file():
        raise PathomixError(f"{foreign}: no such coordinate file", remedy="correct the template of imported files")
    digests = {"tissue": file_digest(outlines) if outlines.is_file() else "missing"}
    if foreign is not None:
        digests["imported"] = file_digest(foreign)
    scale = Scale(quality["mpp_x"], quality["mpp_y"], quality["mpp_source"])
    key = content_key(
        code=code,
        slide=quality["md5"],
        inputs=digests,
        scale=dataclasses.asdict(scale),
        parameters=dataclasses.asdict(settings),
    )
    if stored_key(target, "coords") != key:
        attributes, tiles = _cut(row, slide_path(row, root), scale, outlines, settings, foreign)
        attributes |= tissue_attributes(quality) | {"key": key, "slide_md5": quality["md5"]}
        provenance = Provenance(
            "coords",
            inputs={"slide_md5": quality["md5"], **digests},
            parameters=dataclasses.asdict(settings),
        )
        _write_clam(clam, tiles, attributes, provenance)
        write_coords(target, tiles, attributes, provenance)
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


def _files(results: Path, slide_id: str, settings: TileParameters) -> list[Path]:
    """The coordinate file of a slide and its CLAM version."""
    target = coords_path(results, slide_id, settings.name)
    return [target, target.with_name(f"{settings.name}.clam.h5")]


def _cut(
    row: Row, path: Path, scale: Scale, outlines: Path, settings: TileParameters, foreign: Path | None
) -> tuple[dict[str, Any], Tiles]:
    """Attributes and tiles, selected by the outlines or taken from a foreign file."""
    tissue = read_outlines(outlines)
    with open_scaled(path, scale) as slide:
        grid = Grid.of(scale, slide.dimensions, settings)
        choice = choose_level(slide.level_downsamples, min(grid.downsample), slide.path.name)
        attributes = interchange_attributes(slide, row["slide_id"], grid, choice, settings)
    if foreign is None:
        tiles = select_tiles(tissue, grid, settings.min_tissue)
        if not len(tiles.coords):
            raise PathomixError(
                f"{row['slide_id']}: no tile has {settings.min_tissue:.0%} tissue",
                remedy="lower slides.tiles.min_tissue, use an encoder with smaller tiles, or leave the slide out",
            )
        return attributes, tiles
    theirs = read_foreign_coords(foreign)
    tiles = given_tiles(tissue, grid, imported_corners(theirs, scale, grid, settings))
    origin = {"imported_from": foreign.name, "imported_convention": theirs.convention}
    return attributes | {"overlap": overlap_of(theirs, grid), "min_tissue": 0.0} | origin, tiles


def _write_clam(path: Path, tiles: Tiles, attributes: Mapping[str, Any], provenance: Provenance) -> None:
    path.unlink(missing_ok=True)  # of an earlier run
    if not attributes["resized"]:
        return
    size = clam_patch_size(attributes)
    if size is None:
        log.warning("%s: axes of different scale, no coordinate file for CLAM", attributes["name"])
        return
    write_clam_coords(path, tiles.coords, size, attributes, provenance)


def _quality(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PathomixError(f"{path}: cannot be read ({error})", remedy="run segment_tissue again") from error
    if not isinstance(content, dict):
        raise PathomixError(f"{path}: not a quality report", remedy="run segment_tissue again")
    return content
