"""Lock files: which remote slides a cohort consists of, each with its checksum, frozen at a date."""

from __future__ import annotations

import csv
import io
import logging
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from pathomix.core.errors import PathomixError
from pathomix.core.files import write_text
from pathomix.core.locks import LOCK_COLUMNS

log = logging.getLogger(__name__)

HEADER_KEYS = ("source", "data_release", "retrieved", "projects", "filters", "note")
_AGAIN = "lock the slides again: python workflow_scripts/lock_slides.py --help"


@dataclass(frozen=True)
class LockedSlide:
    """One slide file.

    Attributes:
        file_id: UUID of this version of the file.
        file_name: Name in the archive.
        md5: 32 hexadecimal characters.
        size: Bytes.
        project: Project id, e.g. ``TCGA-BRCA``.
        patient_id: Submitter id of the case.
        slide_id: File name up to its first dot.
        sample_id: Submitter id of the sample, empty where the archive does not tell.
        sample_type: E.g. ``Primary Tumor``, empty where the archive does not tell.
    """

    file_id: str
    file_name: str
    md5: str
    size: int
    project: str
    patient_id: str
    slide_id: str
    sample_id: str
    sample_type: str


@dataclass(frozen=True)
class Lock:
    """Slides sorted by `slide_id`, and how they were found (keys `HEADER_KEYS`)."""

    slides: tuple[LockedSlide, ...]
    header: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LockDiff:
    """What a new lock changes: slide ids, and (slide id, old, new) where the file behind one is another."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    superseded: tuple[tuple[str, str, str], ...] = ()
    changed: tuple[tuple[str, str, str], ...] = ()

    def lines(self) -> list[str]:
        """For people; empty where nothing changed."""
        result = [f"added {slide}" for slide in self.added] + [f"removed {slide}" for slide in self.removed]
        result += [f"superseded {slide}: file {old} by {new}" for slide, old, new in self.superseded]
        return result + [f"changed {slide}: {old}, now {new}" for slide, old, new in self.changed]


def header_path(path: Path) -> Path:
    """``x.slides.yaml`` beside ``x.slides.tsv``."""
    return path.with_suffix(".yaml")


def checked(slides: Iterable[LockedSlide], source: str) -> tuple[LockedSlide, ...]:
    """The slides in order.

    Raises:
        PathomixError: An id, md5, size or name is malformed, or a slide or file is listed twice.
    """
    result = tuple(sorted(slides, key=lambda slide: slide.slide_id))
    if not result:
        raise PathomixError(f"{source}: no slides", remedy=_AGAIN)
    faults = {
        "no file id": [s.slide_id for s in result if not s.file_id],
        "no slide, patient or project id": [
            s.file_id for s in result if not (s.slide_id and s.patient_id and s.project)
        ],
        "md5 is not 32 hexadecimal characters": [
            f"{s.slide_id} ({s.md5!r})" for s in result if not re.fullmatch(r"[0-9a-f]{32}", s.md5)
        ],
        "size is not a positive number": [f"{s.slide_id} ({s.size})" for s in result if s.size <= 0],
        # They become paths: one that leaves its folder would overwrite another file.
        "name cannot be that of a file": [
            f"{s.project}/{s.file_name}" for s in result if not (_plain(s.file_name) and _plain(s.project))
        ],
        "slide is listed twice": _repeated(s.slide_id for s in result),
        "file is listed twice": _repeated(s.file_id for s in result),
        "file name is listed twice": _repeated(f"{s.project}/{s.file_name}" for s in result),
    }
    for fact, offending in faults.items():
        if offending:
            raise PathomixError(f"{source}: {fact}", offending=offending, remedy=_AGAIN)
    return result


def write_lock(lock: Lock, path: Path) -> None:
    """Write the table, and its header beside it."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONE, quotechar=None)
    writer.writerow(LOCK_COLUMNS)
    for slide in checked(lock.slides, str(path)):
        writer.writerow(getattr(slide, column) for column in LOCK_COLUMNS)
    unknown = sorted(set(lock.header) ^ set(HEADER_KEYS))
    if unknown:
        raise PathomixError(f"{path}: header keys are unknown or missing", offending=unknown, remedy=_AGAIN)
    content = {key: lock.header[key] for key in HEADER_KEYS}
    write_text(header_path(path), yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120))
    write_text(path, text.getvalue())


def read_lock(path: Path) -> Lock:
    """Read and validate a lock.

    Raises:
        PathomixError: The table is missing or malformed.
    """
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))
    except (OSError, UnicodeDecodeError) as error:
        raise PathomixError(f"{path}: cannot be read ({error})", remedy=_AGAIN) from error
    if not rows or tuple(rows[0]) != LOCK_COLUMNS:
        found = rows[0] if rows else []
        raise PathomixError(f"{path}: the header is not {' '.join(LOCK_COLUMNS)}", offending=found, remedy=_AGAIN)
    slides = []
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(LOCK_COLUMNS):
            raise PathomixError(f"{path}: line {number} has {len(row)} cells", remedy=_AGAIN)
        values: dict[str, Any] = dict(zip(LOCK_COLUMNS, row, strict=True))
        if not re.fullmatch(r"\d+", values["size"]):
            raise PathomixError(f"{path}: line {number}: size is {values['size']!r}", remedy=_AGAIN)
        slides.append(LockedSlide(**{**values, "size": int(values["size"])}))
    beside = header_path(path)
    header: Any = yaml.safe_load(beside.read_text(encoding="utf-8")) if beside.is_file() else {}
    return Lock(checked(slides, str(path)), header if isinstance(header, dict) else {})


def compare(old: Lock, new: Lock) -> LockDiff:
    """What became of each slide between two locks."""
    before, after = {s.slide_id: s for s in old.slides}, {s.slide_id: s for s in new.slides}
    both = [(before[name], after[name]) for name in sorted(before.keys() & after.keys())]
    changed = []
    for a, b in both:
        if a.file_id == b.file_id and a != b:
            names = [name for name in LOCK_COLUMNS if getattr(a, name) != getattr(b, name)]
            was, now = (" ".join(f"{name} {getattr(s, name)}" for name in names) for s in (a, b))
            changed.append((a.slide_id, was, now))
    return LockDiff(
        added=tuple(sorted(after.keys() - before.keys())),
        removed=tuple(sorted(before.keys() - after.keys())),
        superseded=tuple((a.slide_id, a.file_id, b.file_id) for a, b in both if a.file_id != b.file_id),
        changed=tuple(changed),
    )


def report_changes(path: Path, new: Lock) -> LockDiff:
    """What the lock that will replace the one at `path` changes, written into the log line by line."""
    try:
        old = read_lock(path) if path.is_file() else Lock(())
    except PathomixError as error:
        log.warning("%s; it is replaced", error.fact)
        old = Lock(())
    diff = compare(old, new)
    if old.slides:
        lines = diff.lines()
        log.info("%s: %s", path, f"{len(lines)} changes" if lines else "nothing has changed")
        for line in lines:
            log.warning("%s: %s", path, line)
    return diff


def _plain(name: str) -> bool:
    return bool(name) and not name.startswith(".") and not re.search(r"[/\\\x00-\x1f]", name)


def _repeated(values: Iterable[str]) -> list[str]:
    return sorted(value for value, count in Counter(values).items() if count > 1)
