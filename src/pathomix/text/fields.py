"""From registry strings to the closed vocabulary of the prompts; a value that is not understood is dropped by name."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import pandas as pd

log = logging.getLogger(__name__)

Outcome = Literal["kept", "missing", "dropped", "no column"]

COLUMNS = {
    "location": "clinical_location",
    "diagnosis": "clinical_diagnosis",
    "stage": "stage",
    "t": "clinical_t",
    "n": "clinical_n",
    "m": "clinical_m",
}
"""Field to the PATIENTS column it is read from."""

_MISSING = frozenset(
    [
        *("", "--", "-", "na", "n/a", "nan", "none", "null", "unknown", "unspecified", "discrepancy", "indeterminate"),
        *("not reported", "not available", "not applicable", "not evaluated", "not performed"),
        "not allowed to collect",
    ]
)
_SUFFIX = re.compile(r"\s*\(\s*(?:(?:I|MOL)\s*[+-]?|SN|F|M|\d+|DCIS|LCIS|PAGET'?S?)\s*\)")
_PREFIX = r"(?:[ACPRUY]|YP|YC|RP|RC|AP)?"
_STAGE = re.compile(r"(?:STAGE)?\s*(IV|I{1,3}|[0-4]|X)\s*(?:[A-D]\d?|IS|S)?")
_T = re.compile(_PREFIX + r"T(IS|[AX]|[0-4])(?:MI|[A-E]\d?)?")
_N = re.compile(_PREFIX + r"N([0-3]|X)(?:MI|[A-D]\d?(?:IV|I{1,3})?)?")
_M = re.compile(_PREFIX + r"M([01]|X)(?:[A-E]\d?)?")
_NOT_OTHERWISE_SPECIFIED = re.compile(r"\s*,?\s*\(?\bnos\b\)?")
_ROMAN = {"1": "I", "2": "II", "3": "III", "4": "IV"}


@dataclass(frozen=True)
class Cleaned:
    """A cleaned value (None where there is none) and what became of the raw one."""

    value: str | None
    outcome: Outcome


def is_missing(text: str) -> bool:
    """Whether a registry string says that the value is not known."""
    return text.strip().strip("[]'\"").strip().casefold() in _MISSING


def _coded(pattern: re.Pattern[str], name: Callable[[str], str]) -> Callable[[str], Cleaned]:
    def clean(text: str) -> Cleaned:
        if is_missing(text):
            return Cleaned(None, "missing")
        match = pattern.fullmatch(_SUFFIX.sub("", text.strip().upper()).strip())
        return Cleaned(name(match.group(1)), "kept") if match else Cleaned(None, "dropped")

    return clean


def _words(text: str) -> Cleaned:
    if is_missing(text):
        return Cleaned(None, "missing")
    # A semicolon would end the segment of the text.
    words = re.sub(r"\s+", " ", _NOT_OTHERWISE_SPECIFIED.sub("", text.casefold()).replace(";", ",")).strip(" ,")
    return Cleaned(words, "kept") if re.search(r"[a-z]", words) else Cleaned(None, "dropped")


CLEANERS: dict[str, Callable[[str], Cleaned]] = {
    "location": _words,
    "diagnosis": _words,
    "stage": _coded(_STAGE, lambda code: _ROMAN.get(code, code)),
    "t": _coded(_T, lambda code: {"IS": "Tis", "A": "Ta"}.get(code, f"T{code}")),
    "n": _coded(_N, lambda code: f"N{code}"),
    "m": _coded(_M, lambda code: f"M{code}"),
}
"""Field to its cleaner. Sub-stages, prefixes (c, p, y, r, a, u) and findings in brackets are taken off; coded fields
become a value of `wording.VOCABULARY`, location and diagnosis lower-case words without "NOS" (spec modaltune 4.1)."""


def clean_fields(patients: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Cleaned fields of all patients, and what every value became.

    Args:
        patients: PATIENTS columns, index ``patient_id``.

    Returns:
        The fields of `COLUMNS` and ``time``, ``event`` (both or neither known) by patient, and the cleaning table:
        field, raw, cleaned, outcome (kept, missing, dropped, no column), patients.
    """
    fields = pd.DataFrame(index=patients.index)
    rows: list[tuple[str, str, str, Outcome, int]] = []
    for field, column in COLUMNS.items():
        if column not in patients.columns:
            fields[field] = pd.Series([None] * len(patients), index=patients.index, dtype=object)
            rows.append((field, "", "", "no column", len(patients)))
            continue
        raw = patients[column].map(lambda value: "" if pd.isna(value) else str(value)).astype(object)
        cleaned = {value: CLEANERS[field](value) for value in raw.unique()}
        fields[field] = pd.Series([cleaned[value].value for value in raw], index=raw.index, dtype=object)
        counts = raw.value_counts()
        rows += [(field, v, c.value or "", c.outcome, int(counts[v])) for v, c in cleaned.items()]
        for value, result in cleaned.items():
            if result.outcome == "dropped":
                log.warning("%s: %r (%d patients) is not understood and left out", column, value, counts[value])
    rows += _outcome(patients, fields)
    table = pd.DataFrame(rows, columns=["field", "raw", "cleaned", "outcome", "patients"])
    order = {field: number for number, field in enumerate([*COLUMNS, "vital_status"])}
    table = table.sort_values(["field", "raw"], key=lambda c: c.map(order) if c.name == "field" else c)
    return fields, table.reset_index(drop=True)


def _outcome(patients: pd.DataFrame, fields: pd.DataFrame) -> list[tuple[str, str, str, Outcome, int]]:
    """Adds time and event to `fields`; half an outcome is none."""
    known = patients["time"].notna() & patients["event"].notna()
    fields["time"] = patients["time"].where(known).astype("float64")
    fields["event"] = patients["event"].where(known).astype("Int8")
    half = patients["event"].notna() & ~known
    kinds: tuple[tuple[str, str, Outcome, pd.Series], ...] = (
        ("1", "event", "kept", known & patients["event"].eq(1)),
        ("0", "censored", "kept", known & patients["event"].eq(0)),
        ("event or censoring without a time", "", "dropped", half),
        ("", "", "missing", patients["event"].isna()),
    )
    counted = [(raw, cleaned, outcome, int(mask.fillna(False).sum())) for raw, cleaned, outcome, mask in kinds]
    return [("vital_status", *entry) for entry in counted if entry[-1]]
