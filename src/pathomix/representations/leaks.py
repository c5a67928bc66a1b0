"""What fits of representations say of whom they looked at: read back for those who use their vectors."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from safetensors import safe_open

from pathomix.core.fitting import Fit, FittingRecord
from pathomix.core.provenance import METADATA_KEY, Provenance

Leaks = dict[str, dict[str, Any]]


def declared_by(*owners: object) -> dict[str, str]:
    """Step to the setting that lets it look at all patients, of a representation, of label texts."""
    return {step: how for owner in owners for step, how in getattr(owner, "declared_leaks", {}).items()}


def fit_of_split(where: str, record: FittingRecord, split: pd.DataFrame, declared: Mapping[str, str]) -> Fit:
    """What the guard is asked about a cohort that was embedded, by the parts of its own fold.

    Args:
        where: Cohort and fold, for messages.
        record: Whom statistics of the cohort looked at.
        split: SPLITS rows of the fold.
        declared: See `Fit`.
    """
    parts = {str(part): frozenset(ids) for part, ids in split.groupby("part")["patient_id"]}
    return Fit(where, record, parts, declared=declared)


def carried_leaks(models: pd.DataFrame, results: str | os.PathLike[str]) -> tuple[list[str], Leaks]:
    """Steps that any of the models took, and per fold the leaks that its models declared.

    Args:
        models: MODEL_INDEX rows; those that were not fitted say nothing.
        results: Results folder.
    """
    steps: set[str] = set()
    leaks: Leaks = {}
    for _, row in models[models["status"] == "done"].iterrows():
        path = Path(results) / str(row["path"])
        try:
            with safe_open(path, framework="numpy") as file:
                parameters = Provenance.from_json(file.metadata()[METADATA_KEY]).parameters
        except Exception:  # safetensors raises a class of its own; who reads the model itself names a damaged file
            continue
        steps.update(parameters.get("fitted_on", {}))
        leaks.setdefault(str(row["fold"]), {}).update(parameters.get("leak_declared", {}))
    return sorted(steps), leaks
