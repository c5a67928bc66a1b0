"""The frozen slide list of an acquisition as a table: ``<locks>/<cohort>.slides.tsv`` and the YAML beside it."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import yaml

from pathomix.cohort.block_specs import SlidesSpec
from pathomix.cohort.import_log import ImportLog
from pathomix.cohort.raw import RawTable, keyed_rows, read_raw
from pathomix.cohort.specs import IdSpec, TableSpec
from pathomix.core.barcodes import sample_type
from pathomix.core.errors import PathomixError
from pathomix.core.locks import LOCK_COLUMNS

# GDC's words for a sample type, and the code in the barcode.
_SAMPLE_TYPES = {
    "primary tumor": "01", "recurrent tumor": "02", "primary blood derived cancer - peripheral blood": "03",
    "additional - new primary": "05", "metastatic": "06", "additional metastatic": "07", "solid tissue normal": "11",
}  # fmt: skip
_MD5 = re.compile(r"[0-9a-f]{32}")


def lock_spec(spec: SlidesSpec) -> SlidesSpec:
    """The slide list as a table of the lock's columns."""
    return SlidesSpec(
        table="lock", id="slide_id", path=spec.pattern, md5="md5", size="size", sample_types=spec.sample_types
    )


def read_slide_lock(lock: Path, label: str, kind: IdSpec, log: ImportLog) -> tuple[RawTable, pd.Series]:
    """The rows of a lock and the patient of each.

    Slides whose barcode and whose `sample_type` name different samples are left out and named in the quarantine.

    Args:
        lock: The ``.slides.tsv`` file.
        label: Its name in errors and reports.
        kind: How patient ids are read.
        log: Receives counts and what was left out.

    Raises:
        PathomixError: Other columns than a lock has, a file or slide twice, a slide of another patient than its row
            says, a checksum that is none, or no checksum and no `note` beside the lock that says why.
    """
    table = read_raw(lock, label)
    if table.columns != LOCK_COLUMNS:
        raise PathomixError(
            f"{label}: the header is not that of a slide lock", offending=table.columns,
            remedy=f"make the lock again; its columns are {' '.join(LOCK_COLUMNS)}",
        )  # fmt: skip
    table, patients = keyed_rows(table, TableSpec(path=label, id="patient_id"), kind, log)
    slides = table.verbatim("slide_id")
    for column in ("file_id", "file_name", "slide_id", "project"):
        cells = table.verbatim(column)
        bad = cells.isna() | (cells.duplicated() & (column != "project"))
        if bad.any():
            raise PathomixError(f"{label}: {column} is empty or there twice", offending=slides[bad].fillna("(none)"),
                                remedy="make the lock again")  # fmt: skip
    foreign = [f"{s} ({p})" for s, p in zip(slides, patients, strict=True) if not s.upper().startswith(p.upper())]
    if foreign and kind.kind == "tcga_barcode":
        raise PathomixError(f"{label}: slides of other patients than their row says", offending=foreign,
                            remedy="make the lock again")  # fmt: skip
    _check_md5(table, slides, lock.with_suffix(".yaml"), label)
    own = [sample_type(text) for text in slides]
    named = [_code(text) for text in table.text("sample_type")]
    differ = [a is not None and b is not None and a != b for a, b in zip(own, named, strict=True)]
    reason = "slide whose barcode and sample type in the lock disagree"
    log.quarantine([p for p, bad in zip(patients, differ, strict=True) if bad], label, reason)
    keep = ~pd.Series(differ, index=patients.index, dtype=bool)
    return table.rows(keep), patients[keep].reset_index(drop=True)


def _code(text: str | None) -> str | None:
    """Two-digit code of a sample type given as code or in GDC's words, None where it is neither."""
    if text is None:
        return None
    return text if re.fullmatch(r"\d\d", text) else _SAMPLE_TYPES.get(text.lower())


def _check_md5(table: RawTable, slides: pd.Series, beside: Path, label: str) -> None:
    md5 = table.verbatim("md5")
    bad = md5.notna() & ~md5.fillna("").map(lambda text: bool(_MD5.fullmatch(text)))
    if bad.any():
        raise PathomixError(f"{label}: md5 is no checksum", offending=slides[bad], remedy="make the lock again")
    if not md5.isna().any():
        return
    note = None
    if beside.is_file():
        content = yaml.safe_load(beside.read_text(encoding="utf-8"))
        note = content.get("note") if isinstance(content, dict) else None
    if not note:
        raise PathomixError(
            f"{label}: slides without md5, and {beside.name} has no `note` that says why", offending=slides[md5.isna()],
            remedy="make the lock again from the archive; a lock made otherwise has to say so in `note`",
        )  # fmt: skip
