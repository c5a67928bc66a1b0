"""The oracle as rows of a study: predictions that are the true log-hazard contributions."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pathomix.core.errors import PathomixError
from pathomix.core.files import file_digest, write_json
from pathomix.core.provenance import Provenance
from pathomix.core.schemas import PATIENTS, PREDICTIONS, RUN_INDEX, SPLITS
from pathomix.core.tables import read_table, write_table

# Row name (after the prefix) to the column of the truth table that is its risk.
ORACLE_ROWS: dict[str, str] = {
    "": "total",
    "_image": "image",
    "_expression": "expression",
    "_alterations": "alterations",
    "_clinical": "clinical",
}


@dataclass(frozen=True)
class Place:
    """Where the runs belong: study, cohort and splitting scheme."""

    study: str
    cohort: str
    scheme: str


def write_oracle_runs(
    place: Place,
    files: Mapping[str, str | os.PathLike[str]],
    results: Path,
    prefix: str = "oracle",
) -> list[Path]:
    """Write predictions for every fold and the run index of every oracle row.

    Args:
        place: Study, cohort and scheme.
        files: Paths of `truth`, `patients` and `splits`.
        results: Results folder.
        prefix: Name of the row that knows everything; the others are ``<prefix>_<modality>``.

    Returns:
        The run indices, one per row of `ORACLE_ROWS`.

    Raises:
        PathomixError: The splits name patients without truth or outcome.
    """
    truth = pd.read_parquet(files["truth"]).set_index("patient_id")
    patients = read_table(files["patients"], PATIENTS).set_index("patient_id")
    splits = read_table(files["splits"], SPLITS)
    lacking = sorted(set(splits["patient_id"]) - (set(truth.index) & set(patients.index)))
    if lacking:
        raise PathomixError(
            f"{files['splits']}: patients without truth or without a row in the patients table",
            offending=lacking,
            remedy="run simulate_tables, build_cohort and split_cohort again, in this order",
        )
    inputs = {name: file_digest(path) for name, path in files.items()}
    indices = []
    for suffix, column in ORACLE_ROWS.items():
        name = prefix + suffix
        rows = []
        for fold, split in splits.groupby("fold"):
            provenance = Provenance("predictions", inputs=inputs, parameters={"row": name, "fold": int(str(fold))})
            folder = results / "runs" / place.study / name / place.cohort / f"{place.scheme}-{fold}" / "seed0"
            path = folder / "predictions.parquet"
            write_table(_predictions(split, truth[column], patients), PREDICTIONS, path, provenance)
            # Nothing was fitted: the truth saw every patient because it made them.
            facts = {"files": {path.name: file_digest(path)}, "fitted_on": {}, "provenance": provenance.to_dict()}
            write_json(folder / "run.json", facts)
            rows.append(_index_row(place, name, int(str(fold)), path, results))
        index = results / "runs" / place.study / name / place.cohort / f"{place.scheme}.parquet"
        write_table(pd.DataFrame(rows), RUN_INDEX, index, Provenance("run_index", inputs=inputs))
        indices.append(index)
    return indices


def _predictions(split: pd.DataFrame, risk: pd.Series, patients: pd.DataFrame) -> pd.DataFrame:
    ids = pd.Index(split["patient_id"])
    outcome = patients.loc[ids, ["time", "event", "class_label"]].reset_index()
    return outcome.assign(task="survival", part=split["part"].to_numpy(), risk=risk.loc[ids].to_numpy())


def _index_row(place: Place, name: str, fold: int, path: Path, results: Path) -> dict[str, object]:
    return {
        "study": place.study,
        "method": name,
        "cohort": place.cohort,
        "scheme": place.scheme,
        "fold": fold,
        "seed": 0,
        "task": "survival",
        "status": "done",
        "reason": None,
        "path": path.relative_to(results).as_posix(),
        "sha256": file_digest(path),
    }
