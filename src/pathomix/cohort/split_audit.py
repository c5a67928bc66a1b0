"""Audit of a split: what every part holds, how far test parts are from the cohort, which sites are on two sides.

It reads only the finished table and the patients, so that it says the same of every scheme, ours or somebody's else.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pathomix.cohort.site_splits import QUARTERS, follow_up_quarters
from pathomix.cohort.strata import UNKNOWN
from pathomix.core.files import write_json
from pathomix.core.provenance import Provenance
from pathomix.core.schemas import PARTS


def audit_path(splits_path: str | Path) -> Path:
    """``<scheme>.audit.json`` beside ``<scheme>.parquet``."""
    return Path(splits_path).with_suffix(".audit.json")


def median_follow_up(time: pd.Series, event: pd.Series) -> float | None:
    """Median follow-up in months by the reverse Kaplan-Meier estimate: deaths censor, censoring is the event.

    Args:
        time: Months; missing values are left out.
        event: 1 = the endpoint happened.

    Returns:
        The first time at which half have been censored, None where that never happens.
    """
    known = time.notna() & event.notna()
    months, censored = time[known].to_numpy(float), (event[known] == 0).to_numpy(bool)
    surviving = 1.0
    for moment in np.unique(months[censored]):
        now = months == moment
        # An event comes before a censoring of the same time, so it has left the risk set of the reversed estimate.
        at_risk = (months > moment).sum() + (now & censored).sum()
        surviving *= 1 - (now & censored).sum() / at_risk
        if surviving <= 0.5 + 1e-12:
            return float(moment)
    return None


def audit_splits(
    splits: pd.DataFrame,
    patients: pd.DataFrame,
    *,
    name: str,
    parameters: Mapping[str, Any],
    summary: Mapping[str, Any],
) -> dict[str, Any]:
    """The audit of one table of splits.

    Args:
        splits: SPLITS rows.
        patients: PATIENTS columns, everybody in `splits` among them.
        name: Cohort name.
        parameters: The scheme and its parameters.
        summary: What the scheme says of itself: `notes`, `relaxed`, `unavoidable`, `solver` (each may be missing).

    Returns:
        ``cohort`` (the whole), ``folds`` (parts, imbalance of the test part in percentage points, sites on two sides),
        ``worst`` (largest imbalance over folds), and the summary's entries. Shares of events are of known outcomes.
    """
    indexed = patients.set_index("patient_id").sort_index()
    indexed = indexed.assign(
        quarter=follow_up_quarters(indexed["time"]),
        label=indexed["class_label"].where(indexed["class_label"].notna(), UNKNOWN),
    )
    whole = _contents(indexed)
    folds = [_fold(int(str(number)), rows, indexed, whole) for number, rows in splits.groupby("fold")]
    measures = list(folds[0]["imbalance"]) if folds else []
    largest: dict[str, Any] = {}
    for measure in [m for m in measures if m.endswith("_points")]:
        values = [f["imbalance"][measure] for f in folds if f["imbalance"][measure] is not None]
        largest[measure] = max(values, key=abs) if values else None
    for key in ("sites", "patients"):
        counts = [f["sites_on_two_sides"]["test"][key] for f in folds]
        largest[f"test_{key}_on_two_sides"] = max(counts, default=0)
    return {
        "name": name,
        "scheme": dict(parameters),
        "cohort": whole,
        "folds": folds,
        "worst": largest,
        **{key: list(summary.get(key, ())) for key in ("relaxed", "unavoidable", "solver", "notes")},
    }


def write_audit(
    splits: pd.DataFrame,
    patients: pd.DataFrame,
    path: str | Path,
    *,
    name: str,
    parameters: Mapping[str, Any],
    summary: Mapping[str, Any],
    inputs: Mapping[str, str | Path] | None = None,
) -> None:
    """Write `audit_splits` as JSON with its provenance."""
    audit = audit_splits(splits, patients, name=name, parameters=parameters, summary=summary)
    lineage = Provenance.of("split_audit", inputs, {"name": name, **parameters})
    write_json(path, {**audit, "provenance": lineage.to_dict()})


def _contents(members: pd.DataFrame) -> dict[str, Any]:
    """What a set of patients holds."""
    event, site = members["event"], members["tissue_source_site"]
    known = int(event.notna().sum())
    return {
        "patients": len(members),
        "events": int((event == 1).sum()),
        "unknown_outcome": len(members) - known,
        "event_share": round(int((event == 1).sum()) / known, 6) if known else None,
        "classes": {str(k): int(v) for k, v in members["label"].value_counts().items()},
        "follow_up_quarters": [int((members["quarter"] == q).sum()) for q in range(QUARTERS)],
        "median_follow_up_months": median_follow_up(members["time"], event),
        "sites": {str(k): int(v) for k, v in site.value_counts().items()},
        "without_site": int(site.isna().sum()),
    }


def _fold(number: int, rows: pd.DataFrame, patients: pd.DataFrame, whole: Mapping[str, Any]) -> dict[str, Any]:
    ids = {part: rows.loc[rows["part"] == part, "patient_id"] for part in PARTS}
    parts = {part: _contents(patients.loc[list(members)]) for part, members in ids.items() if len(members)}
    empty = _contents(patients.iloc[:0])
    test, train, valid = (parts.get(part, empty) for part in ("test", "train", "valid"))
    seen = set(train["sites"]) | set(valid["sites"])
    return {
        "fold": number,
        "parts": parts,
        "patients_without_part": whole["patients"] - len(rows),
        "imbalance": _imbalance(test, whole),
        "sites_on_two_sides": {
            "test": _shared(test["sites"], seen),
            "valid": _shared(valid["sites"], set(train["sites"])),
        },
    }


def _shared(sites: Mapping[str, int], others: set[str]) -> dict[str, Any]:
    """Sites of a part that also occur on the other side, and how many patients of the part they bring."""
    both = sorted(set(sites) & others)
    return {"sites": len(both), "patients": sum(sites[name] for name in both), "names": both}


def _imbalance(test: Mapping[str, Any], whole: Mapping[str, Any]) -> dict[str, Any]:
    """Share in the test part minus share in the cohort, in percentage points; the sign is kept."""

    def points(part: Mapping[str, int], cohort: Mapping[str, int]) -> dict[str, float]:
        size, total = sum(part.values()), sum(cohort.values())
        if not size:
            return {}
        return {k: round(100 * (part.get(k, 0) / size - n / total), 3) for k, n in cohort.items()}

    def largest(values: Mapping[str, float]) -> str | None:
        return max(sorted(values), key=lambda k: abs(values[k])) if values else None

    classes = points(test["classes"], whole["classes"])
    quarters = points(_numbered(test), _numbered(whole))
    worst_class, worst_quarter = largest(classes), largest(quarters)
    event: float | None = None
    if test["event_share"] is not None:
        event = round(100 * (test["event_share"] - whole["event_share"]), 3)
    return {
        "event_share_points": event,
        "largest_class_points": None if worst_class is None else classes[worst_class],
        "largest_class": worst_class,
        "largest_follow_up_points": None if worst_quarter is None else quarters[worst_quarter],
        "largest_follow_up_quarter": None if worst_quarter is None else int(worst_quarter),
    }


def _numbered(contents: Mapping[str, Any]) -> dict[str, int]:
    return {str(number): count for number, count in enumerate(contents["follow_up_quarters"])}
