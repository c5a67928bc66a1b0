"""Splits by patient: given folds, stratified k-fold, Monte-Carlo. Independent of the order of rows.

Where a patient falls depends on the seed, on his id and on who shares his stratum, never on row order: patients are
put in the order of a keyed hash instead of a shuffled one.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pathomix.cohort.given_splits import GIVEN_SPLITS
from pathomix.core.errors import PathomixError
from pathomix.core.provenance import Provenance
from pathomix.core.schemas import PATIENTS, SPLITS
from pathomix.core.tables import read_table, write_table

_log = logging.getLogger(__name__)
_UNKNOWN = "unknown"


class _Parameters(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = 0
    valid_fraction: float = Field(default=0.0, ge=0.0, lt=1.0)
    stratify: tuple[Literal["event", "class_label"], ...] = Field(default=("event", "class_label"), min_length=1)


class GivenParameters(_Parameters):
    """Folds of the description's split set `set`; `valid_fraction` of each training part becomes the valid part."""

    scheme: Literal["given"]
    set: str


class KFoldParameters(_Parameters):
    """`folds` test parts that together hold every patient once."""

    scheme: Literal["stratified_kfold"]
    folds: int = Field(default=5, ge=2)


class MonteCarloParameters(_Parameters):
    """`folds` independent draws of a test part with `test_fraction` of the patients."""

    scheme: Literal["monte_carlo"]
    folds: int = Field(default=15, ge=1)
    test_fraction: float = Field(default=0.2, gt=0.0, lt=1.0)


@dataclass
class _Draft:
    """Rows of a split table under construction, and what a user should know about it."""

    parts: list[pd.DataFrame] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Keep a note once; folds tend to repeat them."""
        if text not in self.notes:
            self.notes.append(text)
            _log.warning(text)


def make_splits(
    patients: pd.DataFrame, parameters: Mapping[str, Any], given: pd.DataFrame | None = None
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Assign every patient one part per fold.

    Args:
        patients: PATIENTS columns.
        parameters: ``scheme`` and that scheme's parameters.
        given: GIVEN_SPLITS rows, needed by the scheme ``given``.

    Returns:
        SPLITS rows sorted by fold and patient; a summary with notes, counts per fold and part, and the folds whose
        test part has no event.

    Raises:
        PathomixError: Unknown scheme or parameter, nothing to stratify by, too few patients, unknown given set.
    """
    name = parameters.get("scheme")
    if name not in SCHEMES:
        raise PathomixError(f"there is no split scheme {name!r}", remedy=f"choose one of {', '.join(sorted(SCHEMES))}")
    model, scheme = SCHEMES[str(name)]
    try:
        parsed = model.model_validate(dict(parameters))
    except ValidationError as error:
        shown = [f"`{'.'.join(map(str, e['loc']))}` {e['msg']}" for e in error.errors()]
        raise PathomixError(
            f"split scheme {name}: parameters are not understood",
            offending=shown,
            remedy=f"known: {', '.join(sorted(model.model_fields))}",
        ) from error
    indexed = patients.set_index("patient_id").sort_index()
    draft = _Draft()
    test = scheme(indexed, parsed, given, draft)
    result = pd.concat(test, ignore_index=True).sort_values(["fold", "patient_id"], ignore_index=True)
    return result, _summary(result, indexed, draft)


def strata(patients: pd.DataFrame, by: tuple[str, ...], smallest: int, draft: _Draft | None = None) -> pd.Series:
    """Stratum of each patient: event x class, missing values being a value of their own.

    Args:
        patients: Index patient_id, columns `event` and `class_label`.
        by: Columns to stratify by; one that is the same for everybody is left out with a note.
        smallest: Strata with fewer patients are merged: first with strata of the same event where
            there are any, else with any.
        draft: Receives notes on what was left out or merged.
    """
    notes = draft or _Draft()
    texts: list[list[str]] = []
    for column in by:
        shown = [f"{column}={_UNKNOWN if pd.isna(value) else value}" for value in patients[column].tolist()]
        if len(set(shown)) > 1:
            texts.append(shown)
        else:
            notes.note(f"all patients have {shown[0]}: not used to stratify")
    if not texts:
        return pd.Series("all", index=patients.index, dtype=object)
    stratum = _merge_rare([" ".join(row) for row in zip(*texts, strict=True)], texts[0], smallest, notes)
    stratum = _merge_rare(stratum, ["all"] * len(stratum), smallest, notes)
    return pd.Series(stratum, index=patients.index, dtype=object)


def _merge_rare(stratum: list[str], within: list[str], smallest: int, notes: _Draft) -> list[str]:
    """Merge strata of fewer than `smallest` patients with each other, and where that is not enough with the largest.

    Only strata with the same value of `within` are merged.
    """
    renamed: dict[tuple[str, str], str] = {}
    for group in sorted(set(within)):
        counts = Counter(s for s, g in zip(stratum, within, strict=True) if g == group)
        rare = sorted(s for s, n in counts.items() if n < smallest)
        if not rare or len(counts) == 1:
            continue
        together = sum(counts[s] for s in rare)
        target = f"{group} (rare)" if together >= smallest else min(counts, key=lambda s: (-counts[s], s))
        renamed |= {(group, s): target for s in rare}
        notes.note(f"strata with fewer than {smallest} patients are joined to {target!r}: {', '.join(rare)}")
    return [renamed.get((g, s), s) for s, g in zip(stratum, within, strict=True)]


def _groups(stratum: pd.Series) -> dict[str, list[str]]:
    """Patients of each stratum, strata in sorted order."""
    result: dict[str, list[str]] = {name: [] for name in sorted(set(stratum))}
    for patient, name in stratum.items():
        result[name].append(str(patient))
    return result


def _check_cohort(patients: pd.DataFrame, by: tuple[str, ...]) -> None:
    """Refuse a cohort that cannot be split as asked.

    Raises:
        PathomixError: Outcomes are known but nobody has the event, or no column tells patients apart.
    """
    known = patients["event"].dropna()
    if "event" in by and len(known) and not known.sum():
        raise PathomixError(
            f"no event among {len(known)} patients: survival can neither be learnt nor evaluated",
            remedy="check `survival` in the description, or split with stratify: [class_label]",
        )
    if all(patients[column].nunique(dropna=False) < 2 for column in by):
        raise PathomixError(
            f"nothing to stratify by: {' and '.join(by)} the same for all patients",
            remedy="give the cohort outcomes or at least two classes, or use given folds",
        )


def _shuffled(ids: Iterable[str], key: str) -> list[str]:
    return sorted(ids, key=lambda i: hashlib.sha256(f"{key}/{i}".encode()).digest())


def _draw(stratum: pd.Series, fraction: float, key: str) -> set[str]:
    """Draw a fraction of the patients, each stratum in proportion (largest remainders settle the rounding)."""
    groups = {name: _shuffled(ids, key) for name, ids in _groups(stratum).items()}
    wanted = np.array([fraction * len(ids) for ids in groups.values()])
    take = np.floor(wanted).astype(int)
    short = round(fraction * len(stratum)) - int(take.sum())
    for place in sorted(range(len(groups)), key=lambda g: (take[g] - wanted[g], g))[:short]:
        take[place] += 1
    return {i for ids, n in zip(groups.values(), take, strict=True) for i in ids[:n]}


def _with_valid(
    train: pd.Index, patients: pd.DataFrame, parameters: _Parameters, fold: int, draft: _Draft
) -> dict[str, str]:
    """Parts of the training patients after the valid part has been carved out."""
    if not parameters.valid_fraction:
        return dict.fromkeys(train, "train")
    stratum = strata(patients.loc[train], parameters.stratify, 2, draft)
    valid = _draw(stratum, parameters.valid_fraction, f"{parameters.seed}/valid/{fold}")
    if not valid or len(valid) == len(train):
        raise PathomixError(
            f"fold {fold}: {parameters.valid_fraction:g} of {len(train)} training patients is no valid part",
            remedy="change valid_fraction",
        )
    return {i: "valid" if i in valid else "train" for i in train}


def _fold_rows(
    fold: int, test: set[str], patients: pd.DataFrame, parameters: _Parameters, draft: _Draft
) -> pd.DataFrame:
    train = patients.index[~patients.index.isin(sorted(test))]
    parts = _with_valid(train, patients, parameters, fold, draft) | dict.fromkeys(sorted(test), "test")
    return pd.DataFrame({"fold": fold, "patient_id": list(parts), "part": list(parts.values())})


def _given(
    patients: pd.DataFrame, parameters: GivenParameters, given: pd.DataFrame | None, draft: _Draft
) -> list[pd.DataFrame]:
    rows = None if given is None else given[given["set"] == parameters.set]
    if rows is None or rows.empty:
        known = [] if given is None else sorted(given["set"].unique())
        raise PathomixError(
            f"there is no given split set {parameters.set!r}",
            remedy=f"choose one of {known}" if known else "add `splits` to the cohort's description",
        )
    unknown = sorted(set(rows["patient_id"]) - set(patients.index))
    if unknown:
        raise PathomixError(
            f"given split set {parameters.set!r}: patients without data", offending=unknown,
            remedy="run build_cohort again",
        )  # fmt: skip
    if parameters.valid_fraction and (rows["part"] == "valid").any():
        raise PathomixError(
            f"given split set {parameters.set!r} has a valid part of its own", remedy="set valid_fraction to 0"
        )
    outside = len(patients) - rows["patient_id"].nunique()
    if outside:
        draft.note(
            f"{outside} patients of the cohort are not in the given split set {parameters.set}: they have no part"
        )
    result = []
    for fold, group in rows.groupby("fold"):
        train = pd.Index(sorted(group.loc[group["part"] == "train", "patient_id"]))
        parts = dict(zip(group["patient_id"], group["part"], strict=True))
        parts |= _with_valid(train, patients, parameters, int(str(fold)), draft)
        result.append(pd.DataFrame({"fold": fold, "patient_id": list(parts), "part": list(parts.values())}))
    return result


def _stratified_kfold(
    patients: pd.DataFrame, parameters: KFoldParameters, given: pd.DataFrame | None, draft: _Draft
) -> list[pd.DataFrame]:
    if len(patients) < parameters.folds:
        raise PathomixError(
            f"{len(patients)} patients cannot fill {parameters.folds} folds", remedy="set a smaller number of folds"
        )
    _check_cohort(patients, parameters.stratify)
    stratum = strata(patients, parameters.stratify, parameters.folds, draft)
    tests: list[set[str]] = [set() for _ in range(parameters.folds)]
    # Dealing goes on from stratum to stratum, so that fold sizes differ by one at most.
    dealt = 0
    for ids in _groups(stratum).values():
        for patient in _shuffled(ids, str(parameters.seed)):
            tests[dealt % parameters.folds].add(patient)
            dealt += 1
    return [_fold_rows(fold, test, patients, parameters, draft) for fold, test in enumerate(tests)]


def _monte_carlo(
    patients: pd.DataFrame, parameters: MonteCarloParameters, given: pd.DataFrame | None, draft: _Draft
) -> list[pd.DataFrame]:
    size = round(parameters.test_fraction * len(patients))
    if not 0 < size < len(patients):
        raise PathomixError(
            f"{parameters.test_fraction:g} of {len(patients)} patients is no test part", remedy="change test_fraction"
        )
    _check_cohort(patients, parameters.stratify)
    stratum = strata(patients, parameters.stratify, 2, draft)
    return [
        _fold_rows(
            fold, _draw(stratum, parameters.test_fraction, f"{parameters.seed}/{fold}"), patients, parameters, draft
        )
        for fold in range(parameters.folds)
    ]


# A scheme is a parameter model and a function; a site-preserving one only needs a line here.
Scheme = Callable[[pd.DataFrame, Any, pd.DataFrame | None, _Draft], list[pd.DataFrame]]
SCHEMES: dict[str, tuple[type[_Parameters], Scheme]] = {
    "given": (GivenParameters, _given),
    "stratified_kfold": (KFoldParameters, _stratified_kfold),
    "monte_carlo": (MonteCarloParameters, _monte_carlo),
}


def _summary(splits: pd.DataFrame, patients: pd.DataFrame, draft: _Draft) -> dict[str, Any]:
    event = patients["event"].reindex(splits["patient_id"]).astype("Float64").fillna(0).to_numpy(float)
    groups = splits.assign(event=event).groupby(["fold", "part"])["event"].agg(["size", "sum"])
    sizes = [
        {"fold": int(fold), "part": part, "patients": int(size), "events": int(events)}
        for (fold, part), (size, events) in zip(groups.index, groups.to_numpy(), strict=True)
    ]
    without = [row["fold"] for row in sizes if row["part"] == "test" and not row["events"]]
    if without:
        draft.note(f"folds whose test part has no event (survival cannot be scored there): {without}")
    return {"notes": draft.notes, "sizes": sizes, "test_without_event": without}


def split_cohort(
    name: str,
    patients_path: str | Path,
    given_path: str | Path | None,
    parameters: Mapping[str, Any],
    output: str | Path,
) -> None:
    """Write the splits of one cohort and scheme; parameters and summary lie in the table's metadata.

    Args:
        name: Cohort name.
        patients_path: PATIENTS table.
        given_path: GIVEN_SPLITS table, None if the scheme needs none.
        parameters: ``scheme`` and that scheme's parameters.
        output: SPLITS table.
    """
    patients = read_table(patients_path, PATIENTS)
    given = None if given_path is None else read_table(given_path, GIVEN_SPLITS)
    try:
        splits, summary = make_splits(patients, parameters, given)
    except PathomixError as error:
        raise PathomixError(f"cohort {name}: {error.fact}", offending=error.offending, remedy=error.remedy) from error
    inputs = {"patients": patients_path} | ({} if given_path is None else {"given_splits": given_path})
    write_table(
        splits, SPLITS, output, Provenance.of("splits", inputs, {"name": name, **parameters, "summary": summary})
    )
