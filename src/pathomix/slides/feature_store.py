"""Features by patient: the merged index of a cohort, and lazy reading of bags."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pathomix.core.bags import Bag
from pathomix.core.errors import PathomixError
from pathomix.core.files import write_text
from pathomix.core.schemas import PASS_INDEX, SLIDE_INDEX, SLIDES
from pathomix.core.tables import read_table
from pathomix.slides.stage import write_index

log = logging.getLogger(__name__)

_REMEDY = "run embed_tiles and index_features again"


def index_features(
    indices: Sequence[Path], slides_path: Path, encoder: str, max_lost_share: float, output: Path, quarantine: Path
) -> None:
    """Merge one encoder's rows of the shard indices of a cohort and list what was quarantined.

    Args:
        indices: PASS_INDEX tables of the embedding, one per shard.
        slides_path: SLIDES table of the cohort.
        encoder: Name of the encoder.
        max_lost_share: Largest share of the patients with slides that may be left without any.
        output: SLIDE_INDEX table to write.
        quarantine: TSV to write: slide_id, patient_id, stage, reason.

    Raises:
        PathomixError: A slide is in no shard, a shard was not embedded with the encoder, or more patients are lost than
            allowed; they are named.
    """
    slides = read_table(slides_path, SLIDES)
    frames = [_rows_of(encoder, path) for path in indices]
    merged = pd.concat([f for f in frames if len(f)] or frames[:1] or [pd.DataFrame(columns=list(SLIDE_INDEX.columns))])
    absent = sorted(set(slides["slide_id"]) ^ set(merged["slide_id"]))
    if absent:
        raise PathomixError(f"{slides_path}: shard indices and slide table differ", offending=absent, remedy=_REMEDY)
    bad = merged[merged["status"] == "quarantined"].sort_values("slide_id")
    patients = set(slides["patient_id"])
    lost = sorted(patients - set(merged.loc[merged["status"] == "done", "patient_id"]))
    for slide_id, patient, reason in bad[["slide_id", "patient_id", "reason"]].itertuples(index=False):
        log.warning("%s (%s): %s", slide_id, patient, reason)
    if len(lost) > max_lost_share * len(patients):
        reasons = bad["reason"].str.slice(0, 160).value_counts()
        example = f", for instance {reasons.index[0]!r}" if len(reasons) else ""
        raise PathomixError(
            f"{slides_path}: {len(lost)} of {len(patients)} patients have no usable slide, more than the allowed "
            f"{max_lost_share:.0%}{example}",
            offending=lost,
            remedy="repair or replace their slides, or raise slides.max_lost_share",
        )
    parameters = {"encoder": encoder, "max_lost_share": max_lost_share}
    write_index(merged, output, "features_index", {"slides": slides_path}, parameters)
    write_text(quarantine, _quarantine_tsv(bad))


def _rows_of(encoder: str, path: Path) -> pd.DataFrame:
    """Rows of one encoder; none where the shard has no slide."""
    frame = read_table(path, PASS_INDEX)
    known = sorted(frame["encoder"].unique())
    if len(frame) and encoder not in known:
        raise PathomixError(
            f"{path}: no rows of the encoder {encoder}", offending=known, remedy="name a pass that has it"
        )
    return frame[frame["encoder"] == encoder].drop(columns="encoder")


def _quarantine_tsv(bad: pd.DataFrame) -> str:
    split = bad["reason"].astype("string").str.partition(": ") if len(bad) else pd.DataFrame(columns=[0, 1, 2])
    table = pd.DataFrame(
        {
            "slide_id": bad["slide_id"].to_numpy(),
            "patient_id": bad["patient_id"].to_numpy(),
            "stage": split[0].to_numpy(),
            "reason": split[2].to_numpy(),
        }
    )
    return str(table.to_csv(sep="\t", index=False, lineterminator="\n"))


class FeatureStore:
    """Tile features of one or several cohorts, `pathomix.core.bags.TileStore`.

    Args:
        index_path: Merged SLIDE_INDEX table (`features/<encoder>/<cohort>.parquet`), or those of several cohorts.
        results_root: Folder that the paths in the indices start from.
        cache_bytes: Files read are kept in memory up to this size; training reads each bag once per epoch.

    Raises:
        PathomixError: A patient is in two of the indices.
    """

    def __init__(
        self,
        index_path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        results_root: str | os.PathLike[str],
        cache_bytes: int = 1 << 30,
    ) -> None:
        self._root = Path(results_root)
        paths = [index_path] if isinstance(index_path, str | os.PathLike) else index_path
        self._named = ", ".join(os.fspath(path) for path in paths)
        self._slides: dict[str, list[_Row]] = {}
        for path in paths:
            self._add(path)
        self._cache: dict[str, _Slide] = {}
        self._free = cache_bytes

    def _add(self, path: str | os.PathLike[str]) -> None:
        frame = read_table(path, SLIDE_INDEX)
        done = frame[frame["status"] == "done"].sort_values("slide_id")
        slides: dict[str, list[_Row]] = {}
        for patient, *row in done[["patient_id", "slide_id", "path", "key"]].itertuples(index=False):
            slides.setdefault(str(patient), []).append(_Row(*map(str, row)))
        shared = sorted(slides.keys() & self._slides.keys())
        if shared:
            raise PathomixError(
                f"{os.fspath(path)}: patients are in another of the joined indices too ({self._named})",
                offending=shared,
                remedy="leave them out of all cohorts but one, or do not unite these cohorts",
            )
        self._slides |= slides

    @cached_property
    def dim(self) -> int:
        """Feature width.

        Raises:
            PathomixError: No slide was embedded.
        """
        if not self._slides:
            raise PathomixError(f"{self._named}: no embedded slide", remedy="see the quarantine table beside it")
        first = self._slides[min(self._slides)][0]
        return int(self._read(first).features.shape[1])

    @property
    def patient_ids(self) -> frozenset[str]:
        """Patients with at least one embedded slide."""
        return frozenset(self._slides)

    def bag(self, patient_id: str) -> Bag:
        """All tiles of one patient.

        Raises:
            PathomixError: The patient has no embedded slide, or a feature file is missing, is not the indexed one, or
                has features of another width than the other slides.
        """
        if patient_id not in self._slides:
            raise PathomixError(
                f"{self._named}: no embedded slide", offending=[patient_id], remedy="ask `patient_ids` first"
            )
        rows = self._slides[patient_id]
        parts = [self._read(row) for row in rows]
        widths = {row.slide_id: part.features.shape[1] for row, part in zip(rows, parts, strict=True)}
        if len(set(widths.values())) > 1:
            raise PathomixError(
                f"{patient_id}: features of different width",
                offending=[f"{slide_id} ({width})" for slide_id, width in widths.items()],
                remedy=_REMEDY,
            )
        return Bag(
            features=np.concatenate([part.features for part in parts]).astype(np.float32),
            coords=np.concatenate([part.coords for part in parts]),
            slide=np.repeat(np.arange(len(parts), dtype=np.int32), [len(part.coords) for part in parts]),
            slide_ids=tuple(row.slide_id for row in rows),
            tile_edge=np.stack([part.edge for part in parts]),
        )

    def _read(self, row: _Row) -> _Slide:
        if row.path in self._cache:
            return self._cache[row.path]
        path = self._root / row.path
        try:
            with h5py.File(path, "r") as file:
                key = str(file["features"].attrs["key"])
                content = _Slide(file["features"][:], file["coords"][:], tile_edge(file["coords"].attrs))
        except (OSError, KeyError) as error:
            raise PathomixError(
                f"{path}: cannot be read ({error})", offending=[row.slide_id], remedy=_REMEDY
            ) from error
        if key != row.key:
            raise PathomixError(f"{path}: not the file that was indexed", offending=[row.slide_id], remedy=_REMEDY)
        size = content.features.nbytes + content.coords.nbytes
        if size <= self._free:
            self._free -= size
            self._cache[row.path] = content
        return content


class _Row(NamedTuple):
    """Of the index: a slide, its feature file and the key in it."""

    slide_id: str
    path: str
    key: str


class _Slide(NamedTuple):
    """Content of a feature file: features [tiles, dim], coords [tiles, 2], and the tile's edge [2]."""

    features: NDArray[np.float16]
    coords: NDArray[np.int32]
    edge: NDArray[np.float32]


def tile_edge(attributes: Mapping[str, Any]) -> NDArray[np.float32]:
    """Width and height of a tile in level-0 pixels, float32 [2], from the attributes of a dataset `coords`.

    Not rounded where the scale is known: tiles lie at multiples of the unrounded edge, and counted in the whole pixels
    of `patch_size_level0_xy` they would drift by a cell over a large slide.

    Raises:
        KeyError: The attribute `patch_size_level0_xy` is missing.
    """
    edge = np.asarray(attributes["patch_size_level0_xy"], dtype=np.float64)
    if all(name in attributes for name in ("patch_size", "target_mpp", "mpp_x", "mpp_y")):
        size = attributes["patch_size"] * attributes["target_mpp"]
        edge = np.array([size / attributes["mpp_x"], size / attributes["mpp_y"]])
    return edge.astype(np.float32)
