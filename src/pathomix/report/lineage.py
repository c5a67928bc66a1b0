"""Where a number comes from: artefacts by content hash, followed input by input to the sources."""

from __future__ import annotations

import csv
import json
import os
import re
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import pyarrow.parquet as pq

from pathomix.acquire.pins import read_pins
from pathomix.core.errors import PathomixError
from pathomix.core.files import file_digest
from pathomix.core.provenance import METADATA_KEY, Provenance
from pathomix.core.schemas import SPLITS
from pathomix.core.tables import read_table
from pathomix.core.units import split_key

# Folders that hold what nothing else reads, or one file per slide: their indices carry the hashes.
_SKIPPED = frozenset({"logs", "benchmarks", "report", "figures", "tables", "slides", "explanations", "gdc", "pool"})
_UNIT = re.compile(r"(seed|inner)\d+|passes")
_SLIDE_FILES = (".tiff", ".tif", ".svs", ".png", ".jpg", ".log", ".geojson")


@dataclass(frozen=True)
class Artefact:
    """One file, known by its content.

    Attributes:
        digest: sha256 of its content.
        path: Below the results folder, or as given for files elsewhere.
        artifact: What it is by contract; empty for a file that carries no provenance: a source.
        inputs: Name of an input to the sha256 of its content.
        code: Digest of the code that made it, where it says so.
        origin: Where a source was fetched from, where a pin says so.
        md5: Slide to the md5 its archive publishes, of a slide lock.
    """

    digest: str
    path: str
    artifact: str = ""
    inputs: Mapping[str, str] = field(default_factory=dict)
    code: str = ""
    origin: str = ""
    md5: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """One input met on the way to the sources; `artefact` is None where no file has that content."""

    name: str
    digest: str
    artefact: Artefact | None


@dataclass(frozen=True)
class Lineage:
    """Artefacts by content hash (split tables also by the key of their rows, which is what runs carry)."""

    artefacts: Mapping[str, Artefact]

    @classmethod
    def gather(cls, results: Path, others: Sequence[Path] = ()) -> Lineage:
        """Index the results folder and files elsewhere that artefacts read (descriptions, locks, pins, own tables).

        Args:
            results: Results folder.
            others: Files or folders.
        """
        listed = [*((path, results) for path in _walk(results)), *((path, None) for path in _expanded(others))]
        origins = _origins(path for path, _ in listed)
        artefacts: dict[str, Artefact] = {}
        for path, root in listed:
            digest = file_digest(path)
            shown = path.relative_to(root).as_posix() if root else path.as_posix()
            one = _artefact(path, digest, shown, origins.get(digest, ""))
            artefacts.setdefault(digest, one)
            if one.artifact == "splits" and path.suffix == ".parquet":
                artefacts.setdefault(split_key(read_table(path, SPLITS)), one)
        return cls(artefacts)

    def trace(self, inputs: Mapping[str, str]) -> list[Step]:
        """The inputs and everything behind them, each once, nearest first."""
        found: dict[str, Step] = {}
        waiting = list(inputs.items())
        while waiting:
            further: list[tuple[str, str]] = []
            for name, digest in waiting:
                if digest in found:
                    continue
                artefact = self.artefacts.get(digest)
                found[digest] = Step(name, digest, artefact)
                further += artefact.inputs.items() if artefact else ()
            waiting = further
        return list(found.values())


def _walk(root: Path) -> Iterator[Path]:
    """Files of the results folder worth a hash."""
    for path in _below(root, _SKIPPED):
        per_slide = path.relative_to(root).parts[0] == "features" and path.suffix == ".h5"
        if not per_slide and not path.name.startswith("."):
            yield path


def _expanded(paths: Sequence[Path]) -> Iterator[Path]:
    """Files, and those of folders, slides left out."""
    for path in paths:
        yield from _below(path, frozenset({"gdc"})) if path.is_dir() else [path]


def _below(root: Path, skipped: frozenset[str]) -> Iterator[Path]:
    for folder, names, files in os.walk(root):
        names[:] = sorted(name for name in names if name not in skipped and not _UNIT.fullmatch(name))
        yield from (Path(folder) / name for name in sorted(files) if Path(name).suffix not in _SLIDE_FILES)


def _origins(paths: Iterable[Path]) -> dict[str, str]:
    """Content hash to address, of every file of pins."""
    result: dict[str, str] = {}
    for path in paths:
        if path.suffix == ".yaml" and "pins" in path.name:
            try:
                result |= {pin.sha256: pin.url for pin in read_pins(path).values()}
            except PathomixError:
                continue
    return result


def _artefact(path: Path, digest: str, shown: str, origin: str) -> Artefact:
    provenance = read_any(path)
    if provenance is None:
        md5 = _lock(path) if path.name.endswith(".slides.tsv") else {}
        return Artefact(digest, shown, origin=origin, md5=md5)
    code = str(provenance.parameters.get("code", ""))
    return Artefact(digest, shown, provenance.artifact, dict(provenance.inputs), code, origin)


def _lock(path: Path) -> dict[str, str]:
    with path.open(encoding="utf-8", newline="") as stream:
        return {row["file_name"]: row["md5"] for row in csv.DictReader(stream, delimiter="\t")}


def read_any(path: Path) -> Provenance | None:
    """Provenance of a file of any format the workflow writes; None where it carries none."""
    try:
        text = _READERS[path.suffix](path) if path.suffix in _READERS else None
        return Provenance.from_json(text) if text else None
    except (OSError, ValueError, TypeError, KeyError):
        # A file that is damaged, or of the same suffix and another origin, is a source like any other.
        return None


def _parquet(path: Path) -> str | None:
    found = (pq.read_schema(path).metadata or {}).get(METADATA_KEY.encode())
    return found.decode() if found else None


def _hdf5(path: Path) -> str | None:
    with h5py.File(path) as file:
        if METADATA_KEY in file.attrs:
            return str(file.attrs[METADATA_KEY])
        found: Any = file.get(f"uns/{METADATA_KEY}")
        return found.asstr()[()] if isinstance(found, h5py.Dataset) else None


def _safetensors(path: Path) -> str | None:
    """The header is a length (8 bytes, little-endian) and JSON with the texts under `__metadata__`."""
    with path.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        if length > path.stat().st_size:
            raise ValueError("not a safetensors file")
        header: dict[str, Any] = json.loads(stream.read(length))
    found: str | None = (header.get("__metadata__") or {}).get(METADATA_KEY)
    return found


def _json(path: Path) -> str | None:
    content = json.loads(path.read_text(encoding="utf-8"))
    found = content.get("provenance") if isinstance(content, dict) else None
    return json.dumps(found) if found else None


_READERS = {".parquet": _parquet, ".h5ad": _hdf5, ".h5": _hdf5, ".safetensors": _safetensors, ".json": _json}
