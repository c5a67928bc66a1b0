"""Strata of patients, and draws from them that do not depend on the order of rows."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable

import numpy as np
import pandas as pd

from pathomix.cohort.split_parameters import Draft, SplitParameters
from pathomix.core.errors import PathomixError

UNKNOWN = "unknown"


def strata(patients: pd.DataFrame, by: tuple[str, ...], smallest: int, draft: Draft | None = None) -> pd.Series:
    """Stratum of each patient: event x class, missing values being a value of their own.

    Args:
        patients: Index patient_id, columns `event` and `class_label`.
        by: Columns to stratify by; one that is the same for everybody is left out with a note.
        smallest: Strata with fewer patients are merged: first with strata of the same event where
            there are any, else with any.
        draft: Receives notes on what was left out or merged.
    """
    notes = draft or Draft()
    texts: list[list[str]] = []
    for column in by:
        shown = [f"{column}={UNKNOWN if pd.isna(value) else value}" for value in patients[column].tolist()]
        if len(set(shown)) > 1:
            texts.append(shown)
        else:
            notes.note(f"all patients have {shown[0]}: not used to stratify")
    if not texts:
        return pd.Series("all", index=patients.index, dtype=object)
    stratum = _merge_rare([" ".join(row) for row in zip(*texts, strict=True)], texts[0], smallest, notes)
    stratum = _merge_rare(stratum, ["all"] * len(stratum), smallest, notes)
    return pd.Series(stratum, index=patients.index, dtype=object)


def _merge_rare(stratum: list[str], within: list[str], smallest: int, notes: Draft) -> list[str]:
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


def groups(stratum: pd.Series) -> dict[str, list[str]]:
    """Patients of each stratum, strata in sorted order."""
    result: dict[str, list[str]] = {name: [] for name in sorted(set(stratum))}
    for patient, name in stratum.items():
        result[name].append(str(patient))
    return result


def shuffled(ids: Iterable[str], key: str) -> list[str]:
    """The ids in the order of a keyed hash: a shuffle in which nobody's place depends on who else is there."""
    return sorted(ids, key=lambda i: hashlib.sha256(f"{key}/{i}".encode()).digest())


def draw(stratum: pd.Series, number: int, key: str) -> set[str]:
    """Draw `number` patients, each stratum in proportion (largest remainders settle the rounding)."""
    order = {name: shuffled(ids, key) for name, ids in groups(stratum).items()}
    wanted = np.array([number * len(ids) / len(stratum) for ids in order.values()])
    take = np.floor(wanted).astype(int)
    short = number - int(take.sum())
    for place in sorted(range(len(order)), key=lambda g: (take[g] - wanted[g], g))[:short]:
        take[place] += 1
    return {i for ids, n in zip(order.values(), take, strict=True) for i in ids[:n]}


def with_valid(
    train: pd.Index, patients: pd.DataFrame, parameters: SplitParameters, fold: int, draft: Draft
) -> dict[str, str]:
    """Parts of the training patients after the valid part has been drawn from them, patient by patient.

    Raises:
        PathomixError: `valid_fraction` leaves nobody in one of the two parts.
    """
    if not parameters.valid_fraction:
        return dict.fromkeys(train, "train")
    stratum = strata(patients.loc[train], parameters.stratify, 2, draft)
    valid = draw(stratum, round(parameters.valid_fraction * len(train)), f"{parameters.seed}/valid/{fold}")
    if not valid or len(valid) == len(train):
        raise PathomixError(
            f"fold {fold}: {parameters.valid_fraction:g} of {len(train)} training patients is no valid part",
            remedy="change valid_fraction",
        )
    return {i: "valid" if i in valid else "train" for i in train}


def check_outcomes(patients: pd.DataFrame, by: tuple[str, ...]) -> None:
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


def note_small_classes(patients: pd.DataFrame, folds: int, draft: Draft) -> None:
    """Name every class with fewer patients than folds: some test part cannot hold one."""
    for name, count in sorted(patients["class_label"].value_counts().items()):
        if count < folds:
            members = patients.index[patients["class_label"] == name]
            text = (
                f"class {name} has {count} patients ({', '.join(sorted(members))}), fewer than the {folds} folds: at"
                f" least {folds - count} test parts hold none; use {max(2, count)} folds, or merge or leave out the"
                " class under `class_label` in the cohort's description"
            )
            draft.unavoidable.append(text)
            draft.note(text)
