"""Regions of interest cut from slides: the squares with most tissue, apart from each other (spec path_gptomic 6.3)."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from shapely.geometry.base import BaseGeometry

from pathomix.core.errors import PathomixError
from pathomix.core.parameters import choice
from pathomix.core.provenance import Provenance
from pathomix.core.schemas import SLIDES
from pathomix.core.tables import read_table
from pathomix.slides.outlines import read_outlines
from pathomix.slides.reader import open_scaled
from pathomix.slides.region_store import (
    LostRegion,
    RegionRecord,
    RegionWriter,
    check_lost,
    write_quarantine,
    written_regions,
)
from pathomix.slides.scale import Scale
from pathomix.slides.stage import Row, joined_rows, parameters_from, run_stage, slide_folder, slide_path
from pathomix.slides.tile_reader import TileReader
from pathomix.slides.tiles import FLAG_PADDED, Grid, TileParameters, select_tiles

log = logging.getLogger(__name__)

STAGE = "regions"
STAINS = ("none", "macenko", "vahadane", "reinhard")
# Candidates lie a quarter of a region apart: their number grows with the square of the steps.
_STEPS = 4
# Shares of tissue are compared in whole per cent: below that, outlines of the same tissue differ from scan to scan.
_DECIMALS = 2
_STAIN_ERRORS = (OSError, ValueError, ArithmeticError, np.linalg.LinAlgError)

Normaliser = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]


@dataclass(frozen=True)
class RegionParameters:
    """How regions are cut from slides.

    Attributes:
        size: Edge of a region in pixels at `mpp`, at least 4.
        mpp: µm per pixel.
        per_slide: Largest number of regions of a slide; one with room for fewer gives fewer.
        min_tissue: Smallest share of a region's area that is tissue.
        seed: Seed of the choice among places with equally much tissue.
        stain: Stain normalisation by tiatoolbox: ``none``, ``macenko``, ``reinhard``, or ``vahadane``, of whose
            instability tiatoolbox itself warns: look at the regions before relying on it.
        stain_target: Image whose stain is imitated; empty for the target image of tiatoolbox.
    """

    size: int = 1024
    mpp: float = 0.5
    per_slide: int = 3
    min_tissue: float = 0.5
    seed: int = 0
    stain: str = "none"
    stain_target: str = ""

    def checked(self, section: str) -> RegionParameters:
        """Itself.

        Raises:
            PathomixError: A value that cannot cut anything, or values that contradict each other.
        """
        choice(self.stain, STAINS, f"{section}.stain")
        wrong = []
        if self.size < _STEPS or self.mpp <= 0:
            wrong.append(f"size must be at least {_STEPS} and mpp positive")
        if self.per_slide < 1:
            wrong.append("per_slide must be at least 1")
        if not 0 < self.min_tissue <= 1:
            wrong.append("min_tissue must be above 0 and at most 1")
        if self.stain_target and self.stain == "none":
            wrong.append("stain_target needs a stain")
        if wrong:
            raise PathomixError(f"{section}: {'; '.join(wrong)}", remedy="correct the configuration")
        return self


def cut_regions(
    tissue_indices: Sequence[Path],
    slides_path: Path,
    root: Path,
    name: str,
    parameters: Mapping[str, Any],
    max_lost_share: float,
    results: Path,
    output: Path,
    quarantine: Path,
) -> None:
    """Cut the regions of a cohort's slides.

    Args:
        tissue_indices: SLIDE_INDEX tables of the tissue stage, one per shard.
        slides_path: SLIDES table of the cohort.
        root: Folder that relative slide paths start from.
        name: Name of the regions in the configuration.
        parameters: Fields of `RegionParameters`.
        max_lost_share: Largest share of the patients with slides that may be left without a region.
        results: Results folder.
        output: Region file to write.
        quarantine: TSV to write: slide_id, patient_id, stage, reason.

    Raises:
        PathomixError: The parameters are wrong, a slide is in no shard, or more patients are lost than allowed; a bad
            slide is quarantined instead.
    """
    settings = parameters_from(RegionParameters, parameters, f"regions.{name}").checked(f"regions.{name}")
    normalise = stain_normaliser(settings)
    slides = read_table(slides_path, SLIDES)
    rows = sorted((row for index in tissue_indices for row in joined_rows(index, slides)), key=lambda r: r["slide_id"])
    if sorted(slides["slide_id"]) != [row["slide_id"] for row in rows]:
        absent = sorted(set(slides["slide_id"]) - {row["slide_id"] for row in rows})
        raise PathomixError(
            f"{slides_path}: shard indices and slide table differ", offending=absent, remedy="run segment_tissue again"
        )
    inputs = {"slides": slides_path, **{f"tissue-{k}": path for k, path in enumerate(tissue_indices)}}
    if settings.stain_target:
        inputs["stain_target"] = Path(settings.stain_target)
    with written_regions(output, settings.size) as writer:
        frame = run_stage(
            STAGE, rows, lambda row: _add_slide(row, root, settings, normalise, results, writer), lambda row: []
        )
        bad = frame[frame["status"] == "quarantined"]
        lost = [
            LostRegion(slide, patient, *_parted(reason))
            for slide, patient, reason in bad[["slide_id", "patient_id", "reason"]].itertuples(index=False)
        ]
        check_lost(slides_path, slides["patient_id"], writer.patient_ids, lost, max_lost_share)
        attributes = {"mpp": settings.mpp, "stain": settings.stain, "coords_frame": "level0"}
        writer.finish(Provenance.of("regions", inputs, dataclasses.asdict(settings)), attributes)
    write_quarantine(quarantine, lost)


def _parted(reason: str) -> tuple[str, str]:
    stage, _, text = reason.partition(": ")
    return stage, text


def _add_slide(
    row: Row, root: Path, settings: RegionParameters, normalise: Normaliser, results: Path, writer: RegionWriter
) -> dict[str, Any]:
    slide_id, patient_id = str(row["slide_id"]), str(row["patient_id"])
    folder = slide_folder(results, slide_id)
    scale = settled_scale(folder / "qc.json")
    tissue = read_outlines(folder / "tissue.geojson")
    with open_scaled(slide_path(row, root), scale) as slide:
        corners = choose_regions(tissue, scale, slide.dimensions, settings, slide_id)
        if not len(corners):
            raise PathomixError(
                f"{slide_id}: no square of {settings.size * settings.mpp:g} µm inside the slide has "
                f"{settings.min_tissue:.0%} tissue",
                remedy="lower min_tissue or size of the regions, or leave the slide out",
            )
        reader = TileReader(slide, settings.size, settings.mpp)
        images = [normalise(reader.tile(x, y)) for x, y in corners.tolist()]
    for number, (image, (x, y)) in enumerate(zip(images, corners.tolist(), strict=True), start=1):
        writer.append(image, RegionRecord(f"{slide_id}_{number}", patient_id, slide_id, x, y))
    if len(images) < settings.per_slide:
        log.info("%s: room for %d regions of %d", slide_id, len(images), settings.per_slide)
    return {"tiles": len(images), "mpp": scale.mean, "mpp_source": scale.source}


def choose_regions(
    tissue: BaseGeometry, scale: Scale, canvas: tuple[int, int], settings: RegionParameters, slide_id: str
) -> NDArray[np.int64]:
    """Places of a slide's regions: most tissue first, none overlapping another, none reaching over the canvas.

    Candidates are the squares of a global grid with a pitch of a quarter of a region. They are taken in the order of
    their share of tissue in whole per cent; equal ones in the order of a digest of seed, slide and place in the grid,
    so that they do not crowd in a corner and the choice depends on nothing else.

    Args:
        tissue: Valid tissue geometry in level-0 pixels.
        scale: µm per level-0 pixel.
        canvas: Width and height of the slide in level-0 pixels.
        settings: Size, number and least tissue.
        slide_id: Slide.

    Returns:
        int64 [at most per_slide, 2], level-0 pixel (x, y) of the upper left corners, in the order of choice.

    Raises:
        PathomixError: A region would be smaller than one pixel of the slide.
    """
    overlap = settings.size - settings.size // _STEPS
    grid = Grid.of(scale, canvas, TileParameters(settings.size, settings.mpp, overlap, settings.min_tissue))
    candidates = select_tiles(tissue, grid, settings.min_tissue)
    inside = (candidates.flags & FLAG_PADDED) == 0
    corners, share = candidates.coords[inside], candidates.tissue_fraction[inside]
    places = np.rint(corners / np.array(grid.pitch)).astype(int)
    order = sorted(
        range(len(corners)),
        key=lambda i: (-round(float(share[i]), _DECIMALS), _tie(settings.seed, slide_id, *places[i].tolist())),
    )
    chosen: list[int] = []
    for i in order:
        if len(chosen) == settings.per_slide:
            break
        # in steps of the grid: between rounded pixels, neighbours might overlap by one at some scales and not at others
        if (np.abs(places[chosen] - places[i]) * (settings.size - overlap) >= settings.size).any(axis=1).all():
            chosen.append(i)
    return corners[chosen]


def _tie(seed: int, slide_id: str, column: int, row: int) -> bytes:
    return hashlib.sha256(f"{seed}/{slide_id}/{column}/{row}".encode()).digest()


def settled_scale(path: Path) -> Scale:
    """The physical scale that the tissue stage settled, from its `qc.json`.

    Raises:
        PathomixError: The file is missing or no quality report.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Scale(float(content["mpp_x"]), float(content["mpp_y"]), str(content["mpp_source"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PathomixError(f"{path}: cannot be read ({error})", remedy="run segment_tissue again") from error


def stain_normaliser(settings: RegionParameters) -> Normaliser:
    """Function of an image, uint8 [h, w, 3] to the same shape, that gives it the stain of the target.

    Raises:
        PathomixError: The target is missing, no image, or has no stain; by the function: the image has none.
    """
    if settings.stain == "none":
        return lambda image: image
    from tiatoolbox.data import stain_norm_target
    from tiatoolbox.tools.stainnorm import get_normalizer

    normaliser = get_normalizer(settings.stain)
    try:
        with _repeatable():
            normaliser.fit(_rgb(settings.stain_target) if settings.stain_target else stain_norm_target())
    except _STAIN_ERRORS as error:
        raise PathomixError(
            f"stain target {settings.stain_target or 'of tiatoolbox'}: cannot be used ({error})",
            remedy="name an H&E image as stain_target, or leave it empty for the one of tiatoolbox",
        ) from error

    def normalise(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        try:
            with _repeatable():
                return np.asarray(normaliser.transform(image.copy()), dtype=np.uint8)  # it writes into its input
        except _STAIN_ERRORS as error:
            raise PathomixError(
                f"its stain cannot be normalised by {settings.stain} ({error})",
                remedy="raise min_tissue of the regions, choose stain: none, or leave the slide out",
            ) from error

    return normalise


@contextmanager
def _repeatable() -> Iterator[None]:
    """Dictionary learning (vahadane) draws from the global generator; what it draws is fixed and leaves no trace."""
    state = np.random.get_state()
    np.random.seed(0)
    try:
        yield
    finally:
        np.random.set_state(state)


def _rgb(path: str) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.array(image.convert("RGB"))
