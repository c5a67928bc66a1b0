"""Regions of interest of a cohort in one HDF5 file: written image by image, read patient by patient."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pathomix.core.errors import PathomixError
from pathomix.core.files import atomic_path, write_text
from pathomix.core.provenance import METADATA_KEY, Provenance
from pathomix.core.regions import Regions

_REMEDY = "delete it and run cut_regions or import_regions again"
_IDS = ("region_ids", "patient_ids", "slide_ids")


class RegionRecord(NamedTuple):
    """Where a region comes from.

    Attributes:
        region_id: Its name, unique in the file.
        patient_id: Patient.
        slide_id: Slide.
        x: Level-0 pixel of the left edge, where the region was cut by us.
        y: Level-0 pixel of the upper edge, where the region was cut by us.
    """

    region_id: str
    patient_id: str
    slide_id: str
    x: int | None = None
    y: int | None = None


class RegionWriter:
    """Appends regions to an open file; made by `written_regions`.

    Args:
        file: Open HDF5 file, empty.
        size: Edge of a region in pixels.
    """

    def __init__(self, file: h5py.File, size: int) -> None:
        self._file = file
        self._records: list[RegionRecord] = []
        # One chunk per image: a patient is read without its neighbours. Not compressed: every epoch reads all of them.
        self._images = file.create_dataset(
            "images", (0, size, size, 3), np.uint8, maxshape=(None, size, size, 3), chunks=(1, size, size, 3)
        )

    def append(self, image: NDArray[np.uint8], record: RegionRecord) -> None:
        """Add one region, uint8 [size, size, 3]."""
        self._images.resize(len(self._records) + 1, axis=0)
        self._images[-1] = image
        self._records.append(record)

    @property
    def patient_ids(self) -> frozenset[str]:
        """Patients with a region so far."""
        return frozenset(record.patient_id for record in self._records)

    def finish(self, provenance: Provenance, attributes: Mapping[str, Any] | None = None) -> None:
        """Write names, positions where known, attributes of the dataset `images` and the lineage."""
        for position, name in enumerate(_IDS):
            values = [record[position] for record in self._records]
            self._file.create_dataset(name, data=values, dtype=h5py.string_dtype())
        corners = [(record.x, record.y) for record in self._records]
        if all(value is not None for corner in corners for value in corner):
            self._file.create_dataset("coords", data=np.array(corners, dtype=np.int64).reshape(-1, 2))
        for key, value in (attributes or {}).items():
            self._images.attrs[key] = value
        self._file.attrs[METADATA_KEY] = provenance.to_json()


@contextmanager
def written_regions(path: Path, size: int) -> Iterator[RegionWriter]:
    """Write `images` uint8 [regions, size, size, 3], `region_ids`, `patient_ids`, `slide_ids`, `coords` where known.

    The file appears when the block ends without an error.
    """
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        yield RegionWriter(file, size)


class LostRegion(NamedTuple):
    """A slide, or one region of it, that could not be used: a line of the quarantine table."""

    slide_id: str
    patient_id: str
    stage: str
    reason: str


def write_quarantine(path: Path, lost: Iterable[LostRegion]) -> None:
    """Write the quarantine table, the shape of that of the features: slide_id, patient_id, stage, reason."""
    table = pd.DataFrame(sorted(lost), columns=list(LostRegion._fields))
    write_text(path, str(table.to_csv(sep="\t", index=False, lineterminator="\n")))


def check_lost(
    source: Path, patients: Iterable[str], kept: Iterable[str], lost: Sequence[LostRegion], max_lost_share: float
) -> None:
    """Refuse to go on when too many patients are left without a region.

    Args:
        source: Table or folder that the message names.
        patients: Patients that have slides or files.
        kept: Those of them that have a region.
        lost: What was quarantined; the commonest reason stands in the message.
        max_lost_share: Largest share of the patients that may be lost; losing all is never allowed.

    Raises:
        PathomixError: More patients are lost than allowed; they are named.
    """
    wanted = set(patients)
    gone = sorted(wanted - set(kept))
    if not wanted or len(gone) == len(wanted) or len(gone) > max_lost_share * len(wanted):
        reasons = pd.Series([item.reason[:160] for item in lost if item.patient_id in wanted] or [""]).value_counts()
        example = f", for instance {reasons.index[0]!r}" if reasons.index[0] else ""
        raise PathomixError(
            f"{source}: {len(gone)} of {len(wanted)} patients have no region, more than the allowed "
            f"{max_lost_share:.0%}{example}",
            offending=gone,
            remedy="repair or replace their files, or raise slides.max_lost_share",
        )


class CohortRegions:
    """Regions of one or several cohorts, `pathomix.core.regions.RegionStore`.

    Args:
        paths: Region file (`regions/<name>/<cohort>.h5`), or those of several cohorts.
        cache_bytes: Patients read are kept in memory up to this size; training reads each of them once per epoch.

    Raises:
        PathomixError: A file is missing or damaged, the files differ in the size of their regions, or a patient is in
            two of them.
    """

    def __init__(
        self, paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], cache_bytes: int = 1 << 30
    ) -> None:
        given = [paths] if isinstance(paths, str | os.PathLike) else paths
        self._named = ", ".join(os.fspath(path) for path in given)
        self._rows: dict[str, tuple[Path, pd.Series]] = {}
        sizes = {os.fspath(path): self._add(Path(path)) for path in given}
        if len(set(sizes.values())) != 1:
            raise PathomixError(
                "regions of different size cannot be joined",
                offending=[f"{path} ({size})" for path, size in sizes.items()],
                remedy="cut or import the regions of all cohorts with one size",
            )
        self._size = next(iter(sizes.values()))
        self._cache: dict[str, Regions] = {}
        self._free = cache_bytes

    def _add(self, path: Path) -> int:
        table, size = read_index(path)
        for patient, group in table.groupby("patient_id"):
            if patient in self._rows:
                raise PathomixError(
                    f"{path}: a patient is in another of the joined files too ({self._named})",
                    offending=[str(patient)],
                    remedy="leave the patient out of all cohorts but one, or do not unite these cohorts",
                )
            self._rows[str(patient)] = path, group.sort_values("region_id")["region_id"]
        return size

    @property
    def size(self) -> int:
        """Edge of a region in pixels."""
        return self._size

    @property
    def patient_ids(self) -> frozenset[str]:
        """Patients with at least one region."""
        return frozenset(self._rows)

    def of(self, patient_id: str) -> Regions:
        """Regions of one patient in the order of their ids; the images cannot be written to.

        Raises:
            PathomixError: The patient has no region, or the file is not the one that was opened.
        """
        if patient_id not in self._rows:
            raise PathomixError(f"{self._named}: no region", offending=[patient_id], remedy="ask `patient_ids` first")
        if patient_id in self._cache:
            return self._cache[patient_id]
        path, rows = self._rows[patient_id]
        try:
            with h5py.File(path, "r") as file:
                names = file["region_ids"].asstr()
                found = [str(names[row]) for row in rows.index]
                images = np.stack([file["images"][row] for row in rows.index])
        except (OSError, KeyError, IndexError, ValueError) as error:
            raise PathomixError(f"{path}: cannot be read ({error})", offending=[patient_id], remedy=_REMEDY) from error
        if found != rows.tolist():
            raise PathomixError(f"{path}: changed since it was opened", offending=[patient_id], remedy="start again")
        images.flags.writeable = False
        regions = Regions(images, tuple(found))
        if images.nbytes <= self._free:
            self._free -= images.nbytes
            self._cache[patient_id] = regions
        return regions


def read_index(path: Path) -> tuple[pd.DataFrame, int]:
    """Names of the regions of a file, and the edge of a region in pixels.

    Returns:
        Columns region_id, patient_id, slide_id, one row per image in the order of the file; and the edge.

    Raises:
        PathomixError: The file is missing, damaged, or no region file.
    """
    try:
        with h5py.File(path, "r") as file:
            shape, kind = file["images"].shape, file["images"].dtype
            table = pd.DataFrame({name.removesuffix("s"): file[name].asstr()[:] for name in _IDS})
    except (OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise PathomixError(f"{path}: not a region file ({error})", remedy=_REMEDY) from error
    square = len(shape) == 4 and shape[1] == shape[2] and shape[3] == 3
    if not square or kind != np.uint8 or len(table) != shape[0] or table["region_id"].duplicated().any():
        raise PathomixError(f"{path}: images {shape} of {kind} and {len(table)} names do not fit", remedy=_REMEDY)
    return table, int(shape[1])
