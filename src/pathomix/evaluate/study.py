"""The evaluation step of the workflow: run indices in, score tables out."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from pathomix.core.files import file_digest
from pathomix.core.provenance import Provenance
from pathomix.core.tables import write_table
from pathomix.evaluate.predictions import read_runs
from pathomix.evaluate.schemas import FOLD_SCORES, SCORES
from pathomix.evaluate.scores import Parameters, evaluate

LOG = logging.getLogger(__name__)
Path = str | os.PathLike[str]


def evaluate_study(
    indices: Sequence[Path],
    results: Path,
    parameters: Mapping[str, Any],
    folds_path: Path,
    scores_path: Path,
    threads: int = 1,
) -> None:
    """Score all runs of one study and write FOLD_SCORES and SCORES.

    Args:
        indices: RUN_INDEX tables of the study.
        results: Folder the paths in the indices start from.
        parameters: Keys `bootstrap`, `seed`, `unit`, `reference`; see `Parameters`.
        folds_path: Output, one row per run and metric.
        scores_path: Output, one row per table cell.
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
    write_table(folds, FOLD_SCORES, folds_path, Provenance("fold_scores", FOLD_SCORES.version, inputs, facts))
    write_table(scores, SCORES, scores_path, Provenance("scores", SCORES.version, inputs, facts))
    absent = int(scores["mean"].isna().sum())
    files = runs.index["run"].nunique()
    LOG.info("study %s: %d cells from %d runs, %d missing", runs.study, len(scores), files, absent)
