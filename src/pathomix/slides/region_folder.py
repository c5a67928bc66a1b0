"""Import of a folder of PNG regions named as in the release of Pathomic Fusion (spec path_gptomic 7.1)."""

from __future__ import annotations

import hashlib
import io
import logging
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pathomix.core.barcodes import patient_barcode
from pathomix.core.errors import PathomixError
from pathomix.core.provenance import Provenance
from pathomix.core.schemas import PATIENTS
from pathomix.core.tables import read_table
from pathomix.slides.region_store import LostRegion, RegionRecord, check_lost, write_quarantine, written_regions
from pathomix.slides.stage import parameters_from

log = logging.getLogger(__name__)

STAGE = "regions"
# <slide>_<number of the region>, for patches _<row>_<column> besides; the slide's barcode and uuid have no underscore
_NAME = re.compile(r"(?P<slide>[^_]+)_\d+(?:_\d+_\d+)?")
_SUFFIX = ".png"
_SHOWN_NAMES = 8


@dataclass(frozen=True)
class FolderParameters:
    """How a folder of regions is imported.

    Attributes:
        size: Edge of a region in pixels, others are quarantined; 0 takes the one all files have.
    """

    size: int = 0


class _File(NamedTuple):
    path: Path
    slide_id: str
    patient_id: str


def import_regions(
    folder: Path,
    patients_path: Path,
    name: str,
    parameters: Mapping[str, Any],
    max_lost_share: float,
    output: Path,
    quarantine: Path,
) -> None:
    """Write the regions of a cohort's patients into one region file; a bad file is quarantined and the others go on.

    Args:
        folder: Folder with files `TCGA-XX-XXXX-...-DXn.<uuid>_<k>.png` (patches `..._<k>_<row>_<col>.png`); the first
            12 characters are the patient.
        patients_path: PATIENTS table of the cohort.
        name: Name of the regions in the configuration.
        parameters: Fields of `FolderParameters`.
        max_lost_share: Largest share of the cohort's patients with files that may be left without a region.
        output: Region file to write.
        quarantine: TSV to write: slide_id, patient_id, stage, reason; files of patients outside the cohort as well.

    Raises:
        PathomixError: The folder is missing or has no file of the cohort, the files differ in size and the
            configuration does not say which counts, or more patients are lost than allowed.
    """
    settings = parameters_from(FolderParameters, parameters, f"regions.{name}")
    cohort = set(read_table(patients_path, PATIENTS)["patient_id"])
    files, lost = _listed(folder, cohort)
    if not files:
        raise PathomixError(
            f"{folder}: no region of a patient of the cohort ({len(lost)} files were looked at)",
            offending=[item.reason for item in lost],
            remedy="correct the folder of the regions, or its names (TCGA-XX-XXXX-...-DXn.<uuid>_<k>.png)",
        )
    size = settings.size or _common_size(files, name)
    digest = hashlib.sha256()
    with written_regions(output, size) as writer:
        for file in files:
            content = file.path.read_bytes()
            digest.update(file.path.name.encode() + b"\0" + hashlib.sha256(content).digest())
            try:
                image = decoded(content, file.path.name, size)
            except PathomixError as error:
                lost.append(LostRegion(file.slide_id, file.patient_id, STAGE, str(error)))
                continue
            writer.append(image, RegionRecord(file.path.stem, file.patient_id, file.slide_id))
        for item in lost:
            log.warning("%s (%s): %s", item.slide_id, item.patient_id, item.reason)
        check_lost(folder, (file.patient_id for file in files), writer.patient_ids, lost, max_lost_share)
        log.info("regions of %d of the cohort's %d patients", len(writer.patient_ids), len(cohort))
        inputs = {**Provenance.of("regions", {"patients": patients_path}).inputs, "files": digest.hexdigest()}
        writer.finish(Provenance("regions", inputs=inputs, parameters={**parameters, "size": size}))
    write_quarantine(quarantine, lost)


def _listed(folder: Path, cohort: set[str]) -> tuple[list[_File], list[LostRegion]]:
    """Files of the cohort in the order of their names, and the files that are none."""
    if not folder.is_dir():
        raise PathomixError(f"{folder}: no such folder", remedy="correct the folder of the regions")
    files, lost, other = [], [], []
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() != _SUFFIX:
            other.append(path.name)
            continue
        match = _NAME.fullmatch(path.stem)
        try:
            patient = patient_barcode(path.stem)
        except PathomixError:
            match, patient = None, ""
        if match is None:
            reason = f"{path.name}: not named as a region; rename it to TCGA-XX-XXXX-...-DXn.<uuid>_<k>.png"
            lost.append(LostRegion(path.stem, patient, STAGE, reason))
        elif patient not in cohort:
            reason = f"{path.name}: its patient is not in the cohort; nothing to do if that is meant"
            lost.append(LostRegion(match["slide"], patient, STAGE, reason))
        else:
            files.append(_File(path, match["slide"], patient))
    if other:
        log.warning("%s: %d entries are no PNG files: %s", folder, len(other), ", ".join(other[:_SHOWN_NAMES]))
    return files, lost


def _common_size(files: list[_File], name: str) -> int:
    """Edge of the files, from their headers; files without a readable square header are judged on reading.

    Raises:
        PathomixError: No file is readable and square, or they differ.
    """
    edges: dict[str, int] = {}
    for file in files:
        try:
            with Image.open(file.path) as image:
                width, height = image.size
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            continue
        if width == height:
            edges[file.path.name] = width
    if not edges:
        raise PathomixError(
            f"none of {len(files)} region files is a readable square image",
            offending=[file.path.name for file in files],
            remedy="correct the folder of the regions",
        )
    counts = Counter(edges.values())
    common = counts.most_common(1)[0][0]
    if len(counts) > 1:
        raise PathomixError(
            f"regions of different sizes ({', '.join(f'{n} of {edge}' for edge, n in sorted(counts.items()))} pixels)",
            offending=[f"{file} ({edge})" for file, edge in edges.items() if edge != common],
            remedy=f"set regions.{name}.size to the one that counts: the others are quarantined then",
        )
    return common


def decoded(content: bytes, name: str, size: int) -> NDArray[np.uint8]:
    """Pixels of a PNG file, uint8 [size, size, 3].

    Raises:
        PathomixError: The file cannot be decoded, or is not a square RGB image of this size.
    """
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            image.load()
            mode, (width, height) = image.mode, image.size
            pixels = np.asarray(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise PathomixError(f"{name}: cannot be read ({error})", remedy="fetch the file again") from error
    if width != height:
        raise PathomixError(f"{name}: {width} x {height} pixels, not square", remedy="cut it to a square")
    if mode != "RGB":
        raise PathomixError(f"{name}: colours are {mode}, not RGB", remedy="convert it to 8-bit RGB")
    if width != size:
        raise PathomixError(f"{name}: {width} pixels instead of {size}", remedy=f"bring it to {size} pixels")
    return np.asarray(pixels, dtype=np.uint8)
