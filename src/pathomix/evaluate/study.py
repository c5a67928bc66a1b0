"""The evaluation step of the workflow: run indices in, score tables out."""

from __future__ import annotations

import logging
import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from pathomix.core.files import file_digest
from pathomix.core.provenance import Provenance
from pathomix.core.tables import write_table
from pathomix.evaluate.calibration import write_calibration
from pathomix.evaluate.common import COMMON, common_patients
from pathomix.evaluate.predictions import read_runs
from pathomix.evaluate.schemas import FOLD_SCORES, SCORES
from pathomix.evaluate.scores import Parameters, evaluate

LOG = logging.getLogger(__name__)
Path = str | os.PathLike[str]
_SMALL = 0.05


def evaluate_study(
    indices: Sequence[Path],
    results: Path,
    parameters: Mapping[str, Any],
    output_dir: Path,
    threads: int = 1,
) -> None:
    """Score all runs of one study.

    Writes `folds.parquet` (FOLD_SCORES, one row per run and metric), `scores.parquet` (SCORES, one row per table cell),
    `calibration.parquet` (predicted against observed survival) and `d_calibration.parquet`.

    Args:
        indices: RUN_INDEX tables of the study.
        results: Folder the paths in the indices start from.
        parameters: Keys `bootstrap`, `seed`, `unit`, `reference`; see `Parameters`.
        output_dir: Where the four tables go.
        threads: Prediction files read at the same time.

    Raises:
        PathomixError: A parameter, an index or the agreement between runs is wrong (see `read_runs`).
    """
    checked = Parameters.of(parameters)
    runs = read_runs(indices, results, threads, checked.unit)
    folds, scores = evaluate(runs, checked)
    # Each index holds the hash of every predictions file it lists, so the hashes of the indices are the whole lineage.
    inputs = {os.path.relpath(path, results): file_digest(path) for path in indices}
    facts = {**asdict(checked), "study": runs.study}
    folder = pathlib.Path(output_dir)
    write_table(
        folds, FOLD_SCORES, folder / "folds.parquet", Provenance("fold_scores", FOLD_SCORES.version, inputs, facts)
    )
    write_table(scores, SCORES, folder / "scores.parquet", Provenance("scores", SCORES.version, inputs, facts))
    compared = common_patients(runs) if checked.patients == COMMON else runs
    curves, tests = folder / "calibration.parquet", folder / "d_calibration.parquet"
    write_calibration(compared, curves, tests, inputs, facts)
    absent = int(scores["mean"].isna().sum())
    files = runs.index["run"].nunique()
    _warn_of_few_resamples(scores, checked)
    LOG.info("study %s: %d cells from %d runs, %d missing", runs.study, len(scores), files, absent)


def _warn_of_few_resamples(scores: pd.DataFrame, parameters: Parameters) -> None:
    """A bootstrap p-value is at least 2 / (1 + resamples): adjusted for many rows it may never be small."""
    rows = scores[scores["bootstrap_p"].notna() & scores["resampled_p"].isna()]
    compared = int(rows.groupby(["task", "metric", "cohort", "scheme"]).size().max()) if len(rows) else 0
    if 2 * compared / (1 + parameters.bootstrap) >= _SMALL:
        LOG.warning(
            "%d rows are compared with %s: no p-value of %d resamples can be below %g after Holm's adjustment; set "
            "evaluation.bootstrap to at least %d",
            compared,
            parameters.reference,
            parameters.bootstrap,
            _SMALL,
            math.ceil(2 * compared / (_SMALL)),
        )
