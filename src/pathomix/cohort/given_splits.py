"""Folds made elsewhere, restricted to the cohort and checked for leakage."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from pathomix.cohort.description import Description, SplitSetSpec, canonical, fill
from pathomix.cohort.import_log import ImportLog
from pathomix.cohort.raw import RawTable, patient_of, read_raw
from pathomix.core.errors import PathomixError
from pathomix.core.schemas import PARTS
from pathomix.core.tables import Column, TableSchema

GIVEN_SPLITS = TableSchema(
    "given_splits",
    ("set", "fold", "patient_id"),
    {
        "set": Column("str"),
        "fold": Column("int64"),
        "patient_id": Column("str"),
        "part": Column("str", allowed=PARTS),
    },
)


def given_splits(description: Description, name: str, root: Path, cohort: pd.Index, log: ImportLog) -> pd.DataFrame:
    """GIVEN_SPLITS rows of every split set of the description; folds are numbered from 0.

    Raises:
        PathomixError: A file or column is absent, a patient is in two parts of a fold, a fold has no training or no
            test patient of the cohort.
    """
    parts = [pd.DataFrame({"set": pd.Series(dtype=str), "fold": pd.Series(dtype="int64"),
                           "patient_id": pd.Series(dtype=str), "part": pd.Series(dtype=str)})]  # fmt: skip
    for set_name, spec in description.splits.items():
        reader = _fold_columns if spec.values is not None else _part_files if spec.files is not None else _fold_files
        rows, labels = reader(description, spec, name, root)
        _no_leak(rows, set_name)
        outside = sorted(set(rows["patient_id"]) - set(cohort))
        label = ", ".join(sorted(set(labels.values())))
        log.quarantine(outside, label, f"patient of split set {set_name} is not in the patients table")
        rows = rows[rows["patient_id"].isin(cohort)]
        for fold, fold_name in labels.items():
            present = set(rows.loc[rows["fold"] == fold, "part"])
            if not {"train", "test"} <= present:
                raise PathomixError(
                    f"{fold_name}: fold {fold} of split set {set_name} has no cohort patient in one of train and test",
                    remedy="check the patient ids and the split's part names in the description",
                )
        log.step(
            "splits", label, set=set_name, folds=len(labels), patients=int(rows["patient_id"].nunique()),
            patients_without_data=len(outside), cohort_patients_not_in_set=len(set(cohort) - set(rows["patient_id"])),
        )  # fmt: skip
        parts.append(rows.assign(set=set_name))
    return pd.concat(parts, ignore_index=True)


def _patients(texts: pd.Series, description: Description, label: str) -> pd.Series:
    return texts.map(lambda text: patient_of(text, description.id, label)).astype(object)


def _fold_columns(
    description: Description, spec: SplitSetSpec, name: str, root: Path
) -> tuple[pd.DataFrame, Mapping[int, str]]:
    label = fill(spec.path, "splits.path", name=name)
    table = read_raw(root / label, label)
    ids = table.verbatim(table.columns[0])
    if ids.isna().any():
        raise PathomixError(f"{label}: rows without a patient id", remedy="the first column must hold the patients")
    patients = _patients(ids, description, label)
    values = {canonical(k): part for k, part in (spec.values or {}).items()}
    rows = []
    for fold, column in enumerate(table.columns[1:]):
        cells = table.text(column)
        part = cells.map(lambda t: None if t is None else values.get(canonical(t), t))
        bad = part.notna() & ~part.isin(list(values.values()))
        if bad.any():
            raise PathomixError(
                f"{label}: column {column!r} holds {cells[bad].iloc[0]!r}, which is not in `values`",
                offending=patients[bad],
                remedy=f"add it to `splits.<set>.values` (train, valid or test); known: {sorted(values)}",
            )
        rows.append(pd.DataFrame({"fold": fold, "patient_id": patients, "part": part}).dropna())
    return pd.concat(rows, ignore_index=True), {fold: label for fold in range(len(table.columns) - 1)}


def _fold_files(
    description: Description, spec: SplitSetSpec, name: str, root: Path
) -> tuple[pd.DataFrame, Mapping[int, str]]:
    rows, labels = [], {}
    for number, fold in enumerate(spec.folds or ()):
        label = fill(spec.path, "splits.path", name=name, fold=fold)
        table: RawTable = read_raw(root / label, label)
        labels[number] = label
        for column, part in (spec.parts or {}).items():
            ids = table.verbatim(column).dropna()
            rows.append(pd.DataFrame({"fold": number, "patient_id": _patients(ids, description, label), "part": part}))
    return pd.concat(rows, ignore_index=True), labels


def _part_files(
    description: Description, spec: SplitSetSpec, name: str, root: Path
) -> tuple[pd.DataFrame, Mapping[int, str]]:
    rows = []
    paths = spec.paths(name)
    for label, part in zip(paths, (spec.files or {}).values(), strict=True):
        ids = read_raw(root / label, label, records=spec.records).verbatim(spec.id or "").dropna()
        rows.append(pd.DataFrame({"fold": 0, "patient_id": _patients(ids, description, label), "part": part}))
    return pd.concat(rows, ignore_index=True), {0: ", ".join(paths)}


def _no_leak(rows: pd.DataFrame, set_name: str) -> None:
    """A patient in two parts of a fold is leakage; ids of slides collapse to patients before this check."""
    distinct = rows.drop_duplicates()
    twice = distinct[distinct.duplicated(["fold", "patient_id"], keep=False)]
    if len(twice):
        parts: dict[tuple[str, int], list[str]] = {}
        for patient, fold, part in zip(twice["patient_id"], twice["fold"], twice["part"], strict=True):
            parts.setdefault((patient, fold), []).append(part)
        raise PathomixError(
            f"split set {set_name}: patients in two parts of one fold",
            offending=[
                f"{patient} ({' and '.join(sorted(p))} of fold {fold})" for (patient, fold), p in sorted(parts.items())
            ],
            remedy="use splits by patient, or make new ones with workflow_scripts/split_cohort.py",
        )
    rows.drop(index=rows.index[rows.duplicated()], inplace=True)
