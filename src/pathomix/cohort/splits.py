"""Splits by patient: given folds, k-fold, Monte-Carlo, holdout, whole sites. Independent of the order of rows.

Where a patient falls depends on the seed, on his id and on who shares his stratum, never on row order: patients are
put in the order of a keyed hash instead of a shuffled one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pathomix.cohort.given_splits import GIVEN_SPLITS
from pathomix.cohort.site_splits import site_kfold
from pathomix.cohort.split_audit import audit_path, write_audit
from pathomix.cohort.split_parameters import (
    Draft,
    GivenParameters,
    HoldoutParameters,
    KFoldParameters,
    MonteCarloParameters,
    SiteKFoldParameters,
    SplitParameters,
    parsed,
    rows_of,
)
from pathomix.cohort.strata import check_outcomes, draw, groups, note_small_classes, shuffled, strata, with_valid
from pathomix.core.errors import PathomixError
from pathomix.core.provenance import Provenance
from pathomix.core.schemas import PATIENTS, SPLITS
from pathomix.core.tables import read_table, write_table


def make_splits(
    patients: pd.DataFrame,
    parameters: Mapping[str, Any],
    given: pd.DataFrame | None = None,
    measured: Collection[str] | None = None,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Assign every patient one part per fold.

    Args:
        patients: PATIENTS columns.
        parameters: ``scheme`` and that scheme's parameters.
        given: GIVEN_SPLITS rows, needed by the scheme ``given``.
        measured: Patients with measured expression, needed by ``holdout`` where it requires expression.

    Returns:
        SPLITS rows sorted by fold and patient; a summary with notes, counts per fold and part, the folds whose test
        part has no event, what was relaxed, what is unavoidable, and what the solver says.

    Raises:
        PathomixError: Unknown scheme or parameter, nothing to stratify by, too few patients or sites, unknown set.
    """
    name = parameters.get("scheme")
    if name not in SCHEMES:
        raise PathomixError(f"there is no split scheme {name!r}", remedy=f"choose one of {', '.join(sorted(SCHEMES))}")
    model, scheme = SCHEMES[str(name)]
    checked = parsed(str(name), model, parameters)
    indexed = patients.set_index("patient_id").sort_index()
    draft = Draft()
    parts = scheme(indexed, checked, _Offered(given, measured), draft)
    result = pd.concat(parts, ignore_index=True).sort_values(["fold", "patient_id"], ignore_index=True)
    return result, _summary(result, indexed, draft)


@dataclass(frozen=True)
class _Offered:
    """What some schemes need beside the patients."""

    given: pd.DataFrame | None
    measured: Collection[str] | None


def _fold_rows(
    fold: int, test: set[str], patients: pd.DataFrame, parameters: SplitParameters, draft: Draft
) -> pd.DataFrame:
    train = patients.index[~patients.index.isin(sorted(test))]
    parts = with_valid(train, patients, parameters, fold, draft) | dict.fromkeys(sorted(test), "test")
    return rows_of(fold, parts)


def _given(patients: pd.DataFrame, parameters: GivenParameters, offered: _Offered, draft: Draft) -> list[pd.DataFrame]:
    given = offered.given
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
        parts |= with_valid(train, patients, parameters, int(str(fold)), draft)
        result.append(rows_of(int(str(fold)), parts))
    return result


def _stratified_kfold(
    patients: pd.DataFrame, parameters: KFoldParameters, offered: _Offered, draft: Draft
) -> list[pd.DataFrame]:
    if len(patients) < parameters.folds:
        raise PathomixError(
            f"{len(patients)} patients cannot fill {parameters.folds} folds", remedy="set a smaller number of folds"
        )
    check_outcomes(patients, parameters.stratify)
    note_small_classes(patients, parameters.folds, draft)
    stratum = strata(patients, parameters.stratify, parameters.folds, draft)
    tests: list[set[str]] = [set() for _ in range(parameters.folds)]
    # Dealing goes on from stratum to stratum, so that fold sizes differ by one at most.
    dealt = 0
    for ids in groups(stratum).values():
        for patient in shuffled(ids, str(parameters.seed)):
            tests[dealt % parameters.folds].add(patient)
            dealt += 1
    return [_fold_rows(fold, test, patients, parameters, draft) for fold, test in enumerate(tests)]


def _monte_carlo(
    patients: pd.DataFrame, parameters: MonteCarloParameters, offered: _Offered, draft: Draft
) -> list[pd.DataFrame]:
    size = round(parameters.test_fraction * len(patients))
    if not 0 < size < len(patients):
        raise PathomixError(
            f"{parameters.test_fraction:g} of {len(patients)} patients is no test part", remedy="change test_fraction"
        )
    check_outcomes(patients, parameters.stratify)
    stratum = strata(patients, parameters.stratify, 2, draft)
    return [
        _fold_rows(fold, draw(stratum, size, f"{parameters.seed}/{fold}"), patients, parameters, draft)
        for fold in range(parameters.folds)
    ]


def _holdout(
    patients: pd.DataFrame, parameters: HoldoutParameters, offered: _Offered, draft: Draft
) -> list[pd.DataFrame]:
    complete = patients
    if "class_label" in parameters.require:
        complete = complete[complete["class_label"].notna()]
    if "expression" in parameters.require:
        if offered.measured is None:
            raise PathomixError(
                "scheme holdout requires expression, and who has any was not given",
                remedy="pass --expression cohort/<cohort>/expression.h5ad, or set require: [class_label]",
            )
        complete = complete[complete.index.isin(list(offered.measured))]
    test_size = math.ceil(parameters.test_fraction * len(complete))
    valid_size = math.ceil(parameters.valid_fraction * (len(complete) - test_size))
    if len(complete) - test_size - valid_size < 1:
        raise PathomixError(
            f"{len(complete)} of {len(patients)} patients have {' and '.join(parameters.require) or 'a row'}: too few"
            f" for a test part of {test_size} and a valid part of {valid_size}",
            remedy="lower test_fraction and valid_fraction, or require less",
        )
    if len(complete) < len(patients):
        draft.note(
            f"{len(patients) - len(complete)} patients without {' or '.join(parameters.require)} are training patients"
        )
    check_outcomes(complete, parameters.stratify)
    test = draw(strata(complete, parameters.stratify, 2, draft), test_size, f"{parameters.seed}/test")
    rest = complete[~complete.index.isin(sorted(test))]
    valid = draw(strata(rest, parameters.stratify, 2, draft), valid_size, f"{parameters.seed}/valid")
    return [rows_of(0, {i: "test" if i in test else "valid" if i in valid else "train" for i in patients.index})]


def _site_kfold(
    patients: pd.DataFrame, parameters: SiteKFoldParameters, offered: _Offered, draft: Draft
) -> list[pd.DataFrame]:
    check_outcomes(patients, parameters.stratify)
    note_small_classes(patients, parameters.folds, draft)
    return site_kfold(patients, parameters, draft)


# A scheme is a parameter model and a function.
Scheme = Callable[[pd.DataFrame, Any, _Offered, Draft], list[pd.DataFrame]]
SCHEMES: dict[str, tuple[type[SplitParameters], Scheme]] = {
    "given": (GivenParameters, _given),
    "stratified_kfold": (KFoldParameters, _stratified_kfold),
    "monte_carlo": (MonteCarloParameters, _monte_carlo),
    "holdout": (HoldoutParameters, _holdout),
    "site_kfold": (SiteKFoldParameters, _site_kfold),
}


def _summary(splits: pd.DataFrame, patients: pd.DataFrame, draft: Draft) -> dict[str, Any]:
    event = patients["event"].reindex(splits["patient_id"]).astype("Float64").fillna(0).to_numpy(float)
    counted = splits.assign(event=event).groupby(["fold", "part"])["event"].agg(["size", "sum"])
    sizes = [
        {"fold": int(fold), "part": part, "patients": int(size), "events": int(events)}
        for (fold, part), (size, events) in zip(counted.index, counted.to_numpy(), strict=True)
    ]
    without = [row["fold"] for row in sizes if row["part"] == "test" and not row["events"]]
    if without:
        draft.note(f"folds whose test part has no event (survival cannot be scored there): {without}")
    return {
        "notes": draft.notes,
        "sizes": sizes,
        "test_without_event": without,
        "relaxed": draft.relaxed,
        "unavoidable": draft.unavoidable,
        "solver": draft.solver,
    }


def _measured(path: str | Path) -> list[str]:
    """Patients of an expression table, its values left on disk."""
    import anndata

    data = anndata.read_h5ad(path, backed="r")
    try:
        return [str(patient) for patient in data.obs_names]
    finally:
        data.file.close()


def split_cohort(
    name: str,
    patients_path: str | Path,
    given_path: str | Path | None,
    parameters: Mapping[str, Any],
    output: str | Path,
    expression_path: str | Path | None = None,
) -> None:
    """Write the splits of one cohort and scheme, and beside them their audit (``<scheme>.audit.json``).

    Args:
        name: Cohort name.
        patients_path: PATIENTS table.
        given_path: GIVEN_SPLITS table, None if the scheme needs none.
        parameters: ``scheme`` and that scheme's parameters; they and the summary lie in the table's metadata.
        output: SPLITS table.
        expression_path: ``expression.h5ad``, for the scheme ``holdout`` where it requires expression.
    """
    patients = read_table(patients_path, PATIENTS)
    given = None if given_path is None else read_table(given_path, GIVEN_SPLITS)
    measured = None if expression_path is None else _measured(expression_path)
    try:
        splits, summary = make_splits(patients, parameters, given, measured)
    except PathomixError as error:
        raise PathomixError(f"cohort {name}: {error.fact}", offending=error.offending, remedy=error.remedy) from error
    files = {"patients": patients_path, "given_splits": given_path, "expression": expression_path}
    inputs = {key: path for key, path in files.items() if path is not None}
    write_table(
        splits, SPLITS, output, Provenance.of("splits", inputs, {"name": name, **parameters, "summary": summary})
    )
    write_audit(splits, patients, audit_path(output), name=name, parameters=parameters, summary=summary, inputs=inputs)
