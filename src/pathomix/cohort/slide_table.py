"""The slide list of a cohort."""

from __future__ import annotations

import string

import pandas as pd

from pathomix.cohort.block_specs import SlidesSpec
from pathomix.cohort.clinical import Keyed
from pathomix.cohort.import_log import ImportLog
from pathomix.cohort.specs import NORMAL_TYPES, fill
from pathomix.core.barcodes import sample_type
from pathomix.core.errors import PathomixError
from pathomix.core.schemas import SLIDES


def no_slides() -> pd.DataFrame:
    """An empty slide list."""
    return pd.DataFrame({name: pd.Series(dtype=column.dtype) for name, column in SLIDES.columns.items()})


def slides_table(spec: SlidesSpec, keyed: Keyed, cohort: pd.Index, name: str, log: ImportLog) -> pd.DataFrame:
    """SLIDES columns for the slides of the cohort's patients.

    Paths are the filled pattern, relative to the folder of the slides; that files exist is the slide stage's concern.

    Raises:
        PathomixError: A slide belongs to two patients, or its rows contradict each other.
    """
    table = keyed.table
    assert spec.id is not None
    ids = table.verbatim(spec.id).map(lambda t: None if t is None else t.removesuffix(spec.strip_suffix))
    frame = pd.DataFrame({"slide_id": ids, "patient_id": keyed.patients})
    log.quarantine(frame.loc[ids.isna(), "patient_id"], table.label, f"no slide id in column {spec.id!r}")
    used = sorted({part[1] for part in string.Formatter().parse(spec.pattern) if part[1]})
    cells = {c: table.verbatim(c).fillna("") for c in used if c not in {"slide_id", "patient_id", "name"}}
    frame["path"] = [
        fill(spec.pattern, "slides.path", name=name, slide_id=slide, patient_id=patient,
             **{c: text.iloc[i] for c, text in cells.items()})
        for i, (slide, patient) in enumerate(zip(ids, keyed.patients, strict=True))
    ]  # fmt: skip
    frame["md5"] = table.text(spec.md5) if spec.md5 else None
    frame["size"] = table.numbers(spec.size, keyed.patients) if spec.size else None
    frame["mpp"] = table.numbers(spec.mpp, keyed.patients) if spec.mpp else None
    frame = frame[ids.notna()]
    total = len(frame)
    frame = frame.drop_duplicates()
    clash = frame[frame["slide_id"].duplicated(keep=False)]
    if len(clash):
        raise PathomixError(
            f"{table.label}: rows of one slide contradict each other",
            offending=sorted({f"{s} ({p})" for s, p in zip(clash["slide_id"], clash["patient_id"], strict=True)}),
            remedy="keep one row per slide",
        )
    types = frame["slide_id"].map(sample_type)
    other = types.isin(NORMAL_TYPES) if spec.sample_types is None else types.notna() & ~types.isin(spec.sample_types)
    reason = "slide of normal tissue" if spec.sample_types is None else "slide of a sample type that was not chosen"
    log.quarantine(frame.loc[other, "patient_id"], table.label, reason)
    frame = frame[~other & frame["patient_id"].isin(cohort)]
    log.step(
        "slides", table.label, rows_in=total, merged=total - len(types), other_sample_types=int(other.sum()),
        slides=len(frame), patients=int(frame["patient_id"].nunique()),
    )  # fmt: skip
    return frame
