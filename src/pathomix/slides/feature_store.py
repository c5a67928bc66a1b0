"""Features by patient: the merged index of a cohort, and lazy reading of bags."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pathomix.core.bags import Bag
from pathomix.core.errors import PathomixError
from pathomix.core.files import write_text
from pathomix.core.schemas import SLIDE_INDEX, SLIDES
from pathomix.core.tables import read_table
from pathomix.slides.stage import write_index

log = logging.getLogger(__name__)

_REMEDY = "run embed_tiles and index_features again"


def index_features(
    indices: Sequence[Path], slides_path: Path, max_lost_share: float, output: Path, quarantine: Path
) -> None:
    """Merge the shard indices of a cohort and list what was quarantined.

    Args:
        indices: SLIDE_INDEX tables of the embedding, one per shard.
        slides_path: SLIDES table of the cohort.
        max_lost_share: Largest share of the patients with slides that may be left without any.
        output: SLIDE_INDEX table to write.
        quarantine: TSV to write: slide_id, patient_id, stage, reason.

    Raises:
        PathomixError: A slide is in no shard, or more patients are lost than allowed; they are named.
    """
    slides = read_table(slides_path, SLIDES)
    frames = [read_table(path, SLIDE_INDEX) for path in indices]
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
    write_index(merged, output, "features_index", {"slides": slides_path}, {"max_lost_share": max_lost_share})
    write_text(quarantine, _quarantine_tsv(bad))


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
    """Tile features of a cohort, `pathomix.core.bags.TileStore`.

    Args:
        index_path: Merged SLIDE_INDEX table (`features/<encoder>/<cohort>.parquet`).
        results_root: Folder that the paths in the index start from.
        cache_bytes: Files read are kept in memory up to this size; training reads each bag once per epoch.
    """

    def __init__(
        self, index_path: str | os.PathLike[str], results_root: str | os.PathLike[str], cache_bytes: int = 1 << 30
    ) -> None:
        self._root = Path(results_root)
        frame = read_table(index_path, SLIDE_INDEX)
        done = frame[frame["status"] == "done"].sort_values("slide_id")
        self._slides = {str(patient): group for patient, group in done.groupby("patient_id")}
        self._index_path = Path(index_path)
        self._cache: dict[str, tuple[NDArray[np.float16], NDArray[np.int32]]] = {}
        self._free = cache_bytes

    @cached_property
    def dim(self) -> int:
        """Feature width.

        Raises:
            PathomixError: No slide was embedded.
        """
        if not self._slides:
            raise PathomixError(f"{self._index_path}: no embedded slide", remedy="see the quarantine table beside it")
        first = self._slides[min(self._slides)].iloc[0]
        return int(self._read(first)[0].shape[1])

    @property
    def patient_ids(self) -> frozenset[str]:
        """Patients with at least one embedded slide."""
        return frozenset(self._slides)

    def bag(self, patient_id: str) -> Bag:
        """All tiles of one patient.

        Raises:
            PathomixError: The patient has no embedded slide, or a feature file is missing or not the indexed one.
        """
        if patient_id not in self._slides:
            raise PathomixError(
                f"{self._index_path}: no embedded slide", offending=[patient_id], remedy="ask `patient_ids` first"
            )
        rows = self._slides[patient_id]
        parts = [self._read(row) for _, row in rows.iterrows()]
        return Bag(
            features=np.concatenate([features for features, _ in parts]).astype(np.float32),
            coords=np.concatenate([coords for _, coords in parts]),
            slide=np.repeat(np.arange(len(parts), dtype=np.int32), [len(coords) for _, coords in parts]),
            slide_ids=tuple(rows["slide_id"]),
        )

    def _read(self, row: pd.Series) -> tuple[NDArray[np.float16], NDArray[np.int32]]:
        slide_id = str(row["slide_id"])
        if slide_id in self._cache:
            return self._cache[slide_id]
        path = self._root / str(row["path"])
        try:
            with h5py.File(path, "r") as file:
                key = str(file["features"].attrs["key"])
                content = file["features"][:], file["coords"][:]
        except (OSError, KeyError) as error:
            raise PathomixError(f"{path}: cannot be read ({error})", offending=[slide_id], remedy=_REMEDY) from error
        if key != row["key"]:
            raise PathomixError(f"{path}: not the file that was indexed", offending=[slide_id], remedy=_REMEDY)
        size = content[0].nbytes + content[1].nbytes
        if size <= self._free:
            self._free -= size
            self._cache[slide_id] = content
        return content
