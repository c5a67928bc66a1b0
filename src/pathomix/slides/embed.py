"""Third slide stage: tiles to features. All encoders of a pass share the decoding (spec slides_and_encoders 7.4).

Features do not depend on how tiles were put into batches, up to rounding: in fp32 one unit of float16 (rtol 2e-3, atol
1e-3); in bf16 the cosine to fp32 stays above 0.9995. With the same parameters a resumed job gives the same bytes.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import torch

from pathomix.core.errors import PathomixError
from pathomix.core.files import content_key, file_digest
from pathomix.core.provenance import Provenance
from pathomix.core.schemas import PASS_INDEX, SLIDES
from pathomix.core.tables import read_table, write_table
from pathomix.slides.coords import CoordsFile, read_coords, stored_key
from pathomix.slides.encoders.encoder import TileEncoder, build_encoder
from pathomix.slides.encoders.entries import resolve
from pathomix.slides.engine.device import Numerics, Runner, prepare
from pathomix.slides.engine.feature_file import write_features
from pathomix.slides.engine.parameters import EngineParameters
from pathomix.slides.engine.partial import Layout, PartialFile
from pathomix.slides.engine.plan import Tiling
from pathomix.slides.engine.run import Engine, Sink, SlideTask, start_pool
from pathomix.slides.stage import Row, coords_path, joined_rows, parameters_from, run_stage, slide_folder, slide_path
from pathomix.slides.tilings import tiling_name

log = logging.getLogger(__name__)

STAGE = "features"
# Part of every content key. Features cost GPU-weeks, so their key does not follow each edit of the code: raise
# `version` when reading or encoding changes what a feature means (test_embed.py compares with stored values).
NUMERIC_POLICY = {"version": 2, "storage": "float16"}


def embed_shard(
    tiles: Sequence[Path],
    slides_path: Path,
    root: Path,
    pass_name: str,
    encoders: Mapping[str, Mapping[str, Any]],
    engine: Mapping[str, Any],
    results: Path,
    index: Path,
    threads: int = 1,
) -> None:
    """Embed the tiles of one shard's slides with all encoders of a pass, and write the index of feature files.

    Args:
        tiles: SLIDE_INDEX of the tiling stage, one per tiling (`tiles-<tiling>-<shard>.parquet`).
        slides_path: SLIDES table of the cohort.
        root: Folder that relative slide paths start from.
        pass_name: Name of the pass in the configuration.
        encoders: Entries of its encoders by name.
        engine: Fields of `EngineParameters`.
        results: Results folder.
        index: PASS_INDEX table to write.
        threads: Processors of the job.

    Raises:
        PathomixError: An encoder cannot be built, its tiling has no index, the disk is full; a bad slide is
            quarantined instead, for the encoder concerned.
    """
    settings = parameters_from(EngineParameters, engine, "embedding").checked()
    wanted = {name: resolve(name, entry) for name, entry in encoders.items()}
    indices = {name: tile_index(tiles, tiling_name(one.tile_size, one.mpp)) for name, one in wanted.items()}
    slides = read_table(slides_path, SLIDES)
    rows = {name: joined_rows(path, slides) for name, path in indices.items()}
    job = _Job(rows, root, results, settings, threads)
    if any(row["status"] == "done" for part in rows.values() for row in part):
        job.run([build_encoder(name, entry) for name, entry in encoders.items()])
    records = [record for name in sorted(encoders) for record in _records(name, rows[name], job, results)]
    frame = pd.DataFrame(records, columns=list(PASS_INDEX.columns))
    inputs = {f"tiles-{number}": path for number, path in enumerate(sorted(set(indices.values())))}
    provenance = Provenance.of("features_index", inputs, {"pass": pass_name, "encoders": encoders, "engine": engine})
    write_table(frame, PASS_INDEX, index, provenance)


def tile_index(paths: Sequence[Path], tiling: str) -> Path:
    """The tile index of a tiling, by its name `tiles-<tiling>-<shard>.parquet`.

    Raises:
        PathomixError: There is none.
    """
    for path in paths:
        if path.stem.removeprefix("tiles-").rpartition("-")[0] == tiling:
            return path
    raise PathomixError(
        f"no tile index of the tiling {tiling}",
        offending=[path.name for path in paths],
        remedy=f"give the one that cut_tiles wrote for it, tiles-{tiling}-<shard>.parquet, as --tiles",
    )


def feature_path(results: Path, encoder_name: str, slide_id: str) -> Path:
    """Feature file of a slide."""
    return results / "features" / encoder_name / f"{slide_folder(results, slide_id).name}.h5"


def numeric_policy(numerics: Numerics) -> dict[str, Any]:
    """What features are computed and stored with."""
    parts = {"precision": numerics.precision, "device": numerics.device, "compile": numerics.compile}
    return NUMERIC_POLICY | parts


def feature_key(tiles: CoordsFile, encoder: TileEncoder, numerics: Numerics) -> str:
    """Content key: slide, tiles, weights, transform and numeric policy; not how the tiles were found."""
    coords = hashlib.sha256(np.ascontiguousarray(tiles.coords, dtype="<i8").tobytes()).hexdigest()
    return content_key(
        slide=tiles.slide_md5,
        coords=coords,
        scale=[tiles.scale.x, tiles.scale.y],
        size=tiles.size,
        mpp=tiles.mpp,
        weights=encoder.weights_sha256,
        transform=encoder.transform,
        numeric=numeric_policy(numerics),
    )


@dataclass(frozen=True)
class _Open:
    """An encoder's feature file under way."""

    encoder: TileEncoder
    tiles: CoordsFile
    tiling: Tiling
    sink: Sink
    target: Path


class _Job:
    """Slides of one shard, encoders of one pass.

    Attributes:
        outcomes: By encoder and slide the columns of its index row, or why there is no feature file.
    """

    def __init__(
        self, rows: Mapping[str, Sequence[Row]], root: Path, results: Path, settings: EngineParameters, threads: int
    ) -> None:
        self.outcomes: dict[tuple[str, str], dict[str, Any] | PathomixError] = {}
        self._rows = {(name, str(row["slide_id"])): row for name, part in rows.items() for row in part}
        self._root, self._results, self._settings, self._threads = root, results, settings, threads
        self._numerics = Numerics.of(settings)
        self._encoders: Sequence[TileEncoder] = ()
        self._runners: dict[str, Runner] = {}
        self._open: dict[tuple[str, str], _Open] = {}

    def run(self, encoders: Sequence[TileEncoder]) -> None:
        """Embed what is not there yet."""
        self._encoders = encoders
        tasks = self._tasks()
        try:
            first = next(tasks, None)  # prepares the encoders; where all is there, nothing is started
            if first is not None:
                self._embed(itertools.chain([first], tasks))
        finally:
            for left in self._open.values():
                left.sink.partial.close()

    def _embed(self, tasks: Iterator[SlideTask]) -> None:
        workers = self._settings.processes(self._numerics.device, self._threads)
        torch.set_num_threads(max(1, self._threads - workers))
        sizes = list({tiling_name(e.tile_size, e.mpp): e.tile_size for e in self._encoders}.values())
        pool = start_pool(workers, self._settings.regions(workers), sizes)
        try:
            for task in Engine(pool, list(self._runners.values()), sizes).run(tasks):
                for encoder in self._encoders:
                    if (encoder.name, task.slide_id) in self._open:
                        self._finish(encoder.name, task.slide_id)
        finally:
            pool.close()

    def _tasks(self) -> Iterator[SlideTask]:
        for slide_id in sorted({slide for _, slide in self._rows}):
            opened = [found for encoder in self._encoders if (found := self._prepare(encoder, slide_id)) is not None]
            opened = self._same_scale(slide_id, opened)
            if opened:
                sinks: dict[str, list[Sink]] = {}
                for one in opened:
                    sinks.setdefault(one.tiling.name, []).append(one.sink)
                tilings = list({one.tiling.name: one.tiling for one in opened}.values())
                path = slide_path(self._rows[opened[0].encoder.name, slide_id], self._root)
                yield SlideTask(slide_id, path, opened[0].tiles.scale, tilings, sinks)

    def _prepare(self, encoder: TileEncoder, slide_id: str) -> _Open | None:
        """The feature file to be made; None where it is there, or there is nothing to make it from."""
        row = self._rows.get((encoder.name, slide_id))
        if row is None or row["status"] != "done":
            return None
        name = tiling_name(encoder.tile_size, encoder.mpp)
        try:
            tiles = read_coords(coords_path(self._results, slide_id, name))
            if not len(tiles.coords):
                raise PathomixError(f"{slide_id}: no tiles", remedy="run cut_tiles again, or leave the slide out")
            tiling = _tiling(name, tiles)
        except PathomixError as error:
            self.outcomes[encoder.name, slide_id] = error
            return None
        key, target = feature_key(tiles, encoder, self._numerics), feature_path(self._results, encoder.name, slide_id)
        if stored_key(target, "features") == key:
            self.outcomes[encoder.name, slide_id] = self._record(target, key, tiles)
            return None
        runner = self._runner(encoder.name)
        block = max(1, self._settings.block // runner.batch) * runner.batch
        partial = PartialFile(target, Layout(key, len(tiles.coords), encoder.dim, block, runner.batch))
        if partial.blocks:
            log.info("%s: %s resumes behind %d of %d tiles", slide_id, encoder.name, partial.tiles, len(tiles.coords))
        path = slide_path(row, self._root)
        found = _Open(encoder, tiles, tiling, Sink(runner, partial, path.name, self._settings.max_bad_share), target)
        self._open[encoder.name, slide_id] = found
        return found

    def _runner(self, name: str) -> Runner:
        if not self._runners:  # all of them: the batch of each is found with the others in the device's memory
            for encoder in self._encoders:
                self._runners[encoder.name] = prepare(encoder, self._numerics, self._settings.batch_size)
        return self._runners[name]

    def _same_scale(self, slide_id: str, opened: list[_Open]) -> list[_Open]:
        """Files to be made from one reading of the slide; the others are refused."""
        kept = []
        for one in opened:
            if (one.tiles.scale, one.tiles.slide_md5) == (opened[0].tiles.scale, opened[0].tiles.slide_md5):
                kept.append(one)
                continue
            one.sink.fail(
                PathomixError(
                    f"{slide_id}: the tilings {opened[0].tiling.name} and {one.tiling.name} are not of the same slide "
                    "at the same scale",
                    remedy="run cut_tiles again for both",
                )
            )
            self._finish(one.encoder.name, slide_id)
        return kept

    def _finish(self, name: str, slide_id: str) -> None:
        """Turn a finished partial file into the feature file."""
        one = self._open.pop((name, slide_id))
        if one.sink.error is not None:
            self.outcomes[name, slide_id] = one.sink.error
            return
        partial = one.sink.partial
        try:
            features, good = partial.read(one.tiling.order)
            attributes, provenance = self._lineage(one, int((~good).sum()))
            coords = one.tiles.coords[good]
            write_features(one.target, features[good], coords, attributes, one.tiles.attributes, provenance)
        except BaseException:
            partial.close()  # its blocks stay: the next job only converts them
            raise
        partial.discard()
        self.outcomes[name, slide_id] = self._record(one.target, partial.layout.key, one.tiles)

    def _lineage(self, one: _Open, unreadable: int) -> tuple[dict[str, Any], Provenance]:
        encoder, tiles, policy = one.encoder, one.tiles, numeric_policy(self._numerics)
        inputs = {"slide_md5": tiles.slide_md5, "coords_key": tiles.key, "weights": encoder.weights_sha256}
        attributes = {
            "name": tiles.attributes["name"],
            "savetodir": f"features/{encoder.name}",
            "encoder": encoder.name,
            "encoder_id": encoder.parameters.model,
            "encoder_revision": encoder.revision,
            "weights_sha256": encoder.weights_sha256,
            "transform_json": encoder.transform_json,
            "precision": policy["precision"],
            "numeric_policy_json": json.dumps(policy, sort_keys=True),
            "torch_version": str(torch.__version__),
            "unreadable_tiles": unreadable,
            "key": one.sink.partial.layout.key,
        }
        parameters = {"transform": encoder.transform, "numeric": policy}
        return attributes, Provenance("features", inputs=inputs, parameters=parameters)

    def _record(self, target: Path, key: str, tiles: CoordsFile) -> dict[str, Any]:
        with h5py.File(target, "r") as file:
            count = len(file["features"])
        return {
            "path": target.relative_to(self._results).as_posix(),
            "sha256": file_digest(target),
            "key": key,
            "tiles": count,
            "mpp": tiles.scale.mean,
            "mpp_source": tiles.scale.source,
        }


def _tiling(name: str, tiles: CoordsFile) -> Tiling:
    try:
        level = int(tiles.attributes["level_read"])
        x, y = (float(value) for value in tiles.attributes["downsample"])
    except (KeyError, TypeError, ValueError) as error:
        raise PathomixError(
            f"{name}: the coordinate file does not say which level is read ({error})",
            remedy="delete it and run cut_tiles again",
        ) from error
    return Tiling(name, tiles.size, tiles.mpp, level, (x, y), tiles.coords)


def _records(name: str, rows: Sequence[Row], job: _Job, results: Path) -> list[dict[str, Any]]:
    def work(row: Row) -> dict[str, Any]:
        outcome = job.outcomes[name, str(row["slide_id"])]
        if isinstance(outcome, PathomixError):
            raise outcome
        return outcome

    frame = run_stage(STAGE, rows, work, lambda row: [feature_path(results, name, row["slide_id"])])
    return [
        {str(column): value for column, value in row.items()} for row in frame.assign(encoder=name).to_dict("records")
    ]
