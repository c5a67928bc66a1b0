"""What a trained model looks at, drawn over the slides of the explained patients: figure and GeoJSON per slide.

Two scores of one task's vector, means over stages: the prompt's attention to each tile, in multiples of even attention,
and the effect of the injectors on the tile. Attention says where the prompt looks, the effect what that changes.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pathomix.core.errors import PathomixError
from pathomix.core.files import file_digest
from pathomix.core.parameters import filled
from pathomix.core.provenance import Provenance
from pathomix.core.schemas import SLIDE_INDEX, SLIDES
from pathomix.core.tables import read_table, write_table
from pathomix.slides.coords import plain
from pathomix.slides.feature_store import tile_edge
from pathomix.slides.heatmap import HEATMAPS, ColourScale, HeatmapParameters, ScoredTiles, colour_scale, write_heatmap
from pathomix.slides.reader import open_scaled
from pathomix.slides.scale import Scale

log = logging.getLogger(__name__)


class Explained(NamedTuple):
    """Tiles of one patient: positions [T, 2], slide id [T], whether scored [T], scores [T] by name and their colours.

    A tile without a score was dropped as background before the model.
    """

    coords: NDArray[np.int64]
    slide: NDArray[np.str_]
    scored: NDArray[np.bool_]
    scores: dict[str, NDArray[np.float64]]
    scales: dict[str, ColourScale]


@dataclass(frozen=True)
class _Places:
    explanation: Path
    results: Path
    output: Path
    task: str


def draw_heatmaps(
    explanation: Path,
    features: Sequence[Path],
    slides: Sequence[Path],
    roots: Sequence[Path],
    parameters: Mapping[str, Any],
    results: Path,
    output: Path,
    task: str = "general",
) -> None:
    """Draw every slide of every explained patient; one that cannot be drawn is a row with the reason.

    Args:
        explanation: Folder that `explain_representation` wrote.
        features: Merged feature indices it read.
        slides: SLIDES tables of its cohorts.
        roots: Folder that relative slide paths start from, one per table of `slides`.
        parameters: Fields of `HeatmapParameters`.
        results: Results folder.
        output: Folder for figures, GeoJSON and `heatmaps.parquet` (HEATMAPS).
        task: Whose vector: a task of the model.

    Raises:
        PathomixError: The explanation or a table cannot be read, or a parameter is refused.
    """
    settings = filled(HeatmapParameters, parameters, "heatmaps").checked()
    cases = _cases(explanation / "cases.parquet")
    index = pd.concat([read_table(path, SLIDE_INDEX) for path in features])
    files: dict[str, Path] = {}
    for path, root in zip(slides, roots, strict=True):
        table = read_table(path, SLIDES)
        files |= {str(name): root / str(place) for name, place in zip(table["slide_id"], table["path"], strict=True)}
    index = index[index["status"] == "done"].assign(slide=lambda frame: frame["slide_id"].map(files))
    places = _Places(explanation, results, output, task)
    rows = []
    for case in cases[(cases["status"] == "done") & cases["path"].notna()].to_dict("records"):
        own = index[index["patient_id"] == case["patient_id"]].sort_values("slide_id")
        rows += _patient({str(key): value for key, value in case.items()}, own, places, settings)
    if not rows:
        log.warning("%s: no explained patient has tiles, so nothing is drawn", explanation)
    inputs = {"cases": explanation / "cases.parquet"}
    for kind, paths in (("features", features), ("slides", slides)):
        inputs |= {f"{kind}{number or ''}": path for number, path in enumerate(paths)}
    frame = pd.DataFrame(rows, columns=list(HEATMAPS.columns))
    provenance = Provenance.of("heatmaps", inputs, {"heatmaps": dict(parameters), "task": task})
    write_table(frame, HEATMAPS, output / "heatmaps.parquet", provenance)


def _cases(path: Path) -> pd.DataFrame:
    """Who was explained. Not by the schema of `representations`, whose module needs PyTorch: drawing does not."""
    try:
        return pd.read_parquet(path, columns=["patient_id", "status", "path", "sha256"])
    except (OSError, ValueError) as error:
        raise PathomixError(
            f"{path}: not a table of explained cases ({error})", remedy="run explain_representation again"
        ) from error


def _patient(
    case: dict[str, Any], slides: pd.DataFrame, places: _Places, parameters: HeatmapParameters
) -> list[dict[str, Any]]:
    """Rows of HEATMAPS of one patient's slides."""
    rows, explained, failed = [], None, ""
    try:
        explained = _explained(case, places.explanation, places.task, parameters.percentiles)
    except PathomixError as error:
        failed = str(error)
    for slide in slides.to_dict("records"):
        row = {"slide_id": slide["slide_id"], "patient_id": case["patient_id"], "reason": None}
        stem = places.output / str(slide["slide_id"])
        reason = failed
        if explained is not None:
            try:
                rows.append({**row, **_draw(slide, explained, places, parameters, stem), "status": "drawn"})
                continue
            except PathomixError as error:
                reason = str(error)
        log.warning("%s is left out: %s", slide["slide_id"], reason)
        for suffix in (".png", ".geojson"):
            stem.with_name(stem.name + suffix).unlink(missing_ok=True)
        rows.append({**row, "status": "left_out", "reason": reason})
    return rows


def _explained(case: dict[str, Any], folder: Path, task: str, percentiles: tuple[float, float]) -> Explained:
    """Scores of one patient; colours are common to the patient's slides, so that those can be compared."""
    path = folder / case["path"]
    remedy = "run explain_representation again"
    if not path.is_file() or file_digest(path) != case["sha256"]:
        raise PathomixError(f"{path}: missing, or not the file that was listed", remedy=remedy)
    with h5py.File(path, "r") as file:
        coords, token = file["coords"][:].astype(np.int64), file["token"][:]
        names = np.array([name.decode() for name in file["slide_ids"][:]])
        slide = names[file["slide"][:]]
        stages = list(file.get(task, {}).values())
        looked = [stage[name][:].mean(axis=0) for stage in stages for name in stage if name.startswith("prompt_to_")]
        changed = [stage["effect"][:] for stage in stages if "effect" in stage]
    if not looked or not changed:
        raise PathomixError(f"{path}: no maps of the task {task!r}", remedy="name a task of the model in --task")
    tokens = {
        f"{task} attention (even = 1)": np.stack(looked).mean(axis=0, dtype=np.float64) * len(changed[0]),
        f"{task} effect of the prompt": np.stack(changed).mean(axis=0, dtype=np.float64),
    }
    scored = token >= 0
    if not scored.any():
        raise PathomixError(f"{path}: every tile was dropped as background", remedy=remedy)
    scores = {name: np.where(scored, values[token], np.nan) for name, values in tokens.items()}
    scales = {name: colour_scale(values[scored], percentiles) for name, values in scores.items()}
    return Explained(coords, slide, scored, scores, scales)


def _draw(
    row: dict[Any, Any], explained: Explained, places: _Places, parameters: HeatmapParameters, stem: Path
) -> dict[str, Any]:
    """Draw one slide; columns of HEATMAPS."""
    name = str(row["slide_id"])
    path = places.results / str(row["path"])
    try:
        with h5py.File(path, "r") as file:
            attributes = {key: plain(value) for key, value in file["coords"].attrs.items()}
            known = set(map(tuple, file["coords"][:].tolist()))
            edge = tile_edge(file["coords"].attrs)
            scale = Scale(*(attributes[key] for key in ("mpp_x", "mpp_y", "mpp_source")))
            canvas = attributes["level0_width"], attributes["level0_height"]
    except (OSError, KeyError) as error:
        raise PathomixError(f"{path}: not a feature file ({error})", remedy="run embed_tiles again") from error
    here = explained.slide == name
    drawn = here & explained.scored
    if not drawn.any():
        raise PathomixError(f"{name}: none of its tiles went into the model", remedy="nothing to do")
    coords = explained.coords[drawn]
    strange = [str(corner) for corner in map(tuple, coords.tolist()) if corner not in known]
    if strange:
        raise PathomixError(
            f"{path}: lacks tiles that were explained", offending=strange, remedy="run explain_representation again"
        )
    if pd.isna(row["slide"]):
        raise PathomixError(f"{name}: not in the slide table", remedy="give the tables of all its cohorts in --slides")
    with open_scaled(row["slide"], scale) as slide:
        if slide.dimensions != canvas:
            raise PathomixError(
                f"{slide.path}: {slide.dimensions} pixels, {canvas} when its tiles were cut",
                remedy="run embed_tiles again",
            )
        tiles = ScoredTiles(coords, tuple(edge), {key: values[drawn] for key, values in explained.scores.items()})
        files = write_heatmap(stem, slide, tiles, name, parameters, explained.scales)
    unscored = int((here & ~explained.scored).sum())
    return {"tiles": len(coords), "unscored": unscored, "figure": files[0].name, "geojson": files[1].name}
