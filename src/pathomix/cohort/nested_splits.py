"""Nested splits: inside every outer fold, its training patients are split again, for choosing settings.

One table per scheme beside its splits (``<scheme>.inner.parquet``): the rows of one outer fold, without the column
`fold` and with `inner_fold` in its place, are a SPLITS table like any other. Nobody of the outer valid or test part is
in it, so what is tuned on it has seen neither. It is a table of its own because the splits stay what they are when only
the tuning changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from pathomix.cohort.inner_splits import INNER_SPLITS
from pathomix.cohort.split_audit import audit_path, audit_splits
from pathomix.cohort.split_parameters import derived_seed
from pathomix.cohort.splits import make_splits
from pathomix.core.errors import PathomixError
from pathomix.core.files import write_json
from pathomix.core.provenance import Provenance
from pathomix.core.schemas import PATIENTS, SPLITS
from pathomix.core.tables import read_table, write_table


def nest_splits(
    patients: pd.DataFrame, splits: pd.DataFrame, parameters: Mapping[str, Any], name: str = ""
) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """Split the training part of every fold again.

    Args:
        patients: PATIENTS columns.
        splits: SPLITS rows of the outer scheme, whichever it is.
        parameters: A scheme and its parameters (``site_kfold`` for an outer scheme of whole sites); its seed gives
            every outer fold one of its own.
        name: Cohort name, for the audits.

    Returns:
        INNER_SPLITS rows sorted by their key; the audit of every outer fold's inner splits, with its number as
        `outer_fold`.

    Raises:
        PathomixError: The inner scheme is ``given``, or cannot be made in some outer fold.
    """
    if parameters.get("scheme") in ("given", "holdout"):
        raise PathomixError(
            f"scheme {parameters['scheme']} cannot be nested",
            remedy="use stratified_kfold, monte_carlo or site_kfold inside",
        )
    tables, audits = [], []
    for key, rows in splits.groupby("fold"):
        fold = int(str(key))
        inside = patients[patients["patient_id"].isin(rows.loc[rows["part"] == "train", "patient_id"])]
        own = {**parameters, "seed": derived_seed(int(parameters.get("seed", 0)), "nested", fold)}
        try:
            inner, summary = make_splits(inside, own)
        except PathomixError as error:
            raise PathomixError(
                f"inside fold {fold}: {error.fact}", offending=error.offending, remedy=error.remedy
            ) from error
        audit = audit_splits(inner, inside, name=name, parameters=own, summary=summary)
        audits.append({"outer_fold": fold, **audit})
        tables.append(inner.rename(columns={"fold": "inner_fold"}).assign(fold=fold))
    result = pd.concat(tables, ignore_index=True)[list(INNER_SPLITS.columns)]
    return result.sort_values(list(INNER_SPLITS.key), ignore_index=True), audits


def nest_cohort(
    name: str,
    patients_path: str | Path,
    splits_path: str | Path,
    parameters: Mapping[str, Any],
    output: str | Path,
) -> None:
    """Write the inner splits of a scheme and beside them their audits.

    Args:
        name: Cohort name.
        patients_path: PATIENTS table.
        splits_path: SPLITS table of the outer scheme.
        parameters: The inner scheme and its parameters.
        output: ``<scheme>.inner.parquet``; the audits go to ``<scheme>.inner.audit.json``.
    """
    patients, splits = read_table(patients_path, PATIENTS), read_table(splits_path, SPLITS)
    try:
        inner, audits = nest_splits(patients, splits, parameters, name)
    except PathomixError as error:
        raise PathomixError(f"cohort {name}: {error.fact}", offending=error.offending, remedy=error.remedy) from error
    lineage = Provenance.of(
        "inner_splits", {"patients": patients_path, "splits": splits_path}, {"name": name, **parameters}
    )
    write_table(inner, INNER_SPLITS, output, lineage)
    write_json(audit_path(output), {"outer_folds": audits, "provenance": lineage.to_dict()})
