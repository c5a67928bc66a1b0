"""One method on one cohort and scheme: every fold and seed fitted, predicted and written, each unit resumable."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pathomix.cohort.cases import Cases
from pathomix.cohort.parts import parts_of
from pathomix.core.errors import PathomixError
from pathomix.core.files import content_key
from pathomix.core.fitting import Fit, Guard, recording
from pathomix.core.provenance import METADATA_KEY, Provenance
from pathomix.core.schemas import HISTORY, PARTS, PREDICTIONS, RUN_INDEX
from pathomix.core.tables import write_table
from pathomix.core.units import read_record, split_key, write_arrays, write_record
from pathomix.core.vectors import LeakingVectors, VectorStore
from pathomix.methods.base import Method, Task
from pathomix.methods.build import build_method
from pathomix.methods.tuning import Tuned, Tuning

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FoldResult:
    """What one fold and seed gave.

    Attributes:
        predictions: PREDICTIONS rows of all parts, for the tasks that could be fitted.
        history: HISTORY rows.
        state: Named arrays of the fitted models.
        failures: Task to the reason why it could not be fitted.
    """

    predictions: pd.DataFrame
    history: pd.DataFrame
    state: Mapping[str, NDArray[np.generic]]
    failures: Mapping[Task, str]


def run_fold(method: Method, cases: Cases, split: pd.DataFrame, tasks: Sequence[Task], seed: int) -> FoldResult:
    """Fit on the training and valid parts of one fold, predict all parts.

    A task that the training part cannot carry fails by itself, with its reason, and leaves the others alone; tasks of
    a method that trains them jointly fail together.

    Args:
        method: Configured method.
        cases: Whole cohort.
        split: SPLITS rows of one fold.
        tasks: Tasks to fit, each on its own.
        seed: Of everything random in the fit.

    Raises:
        PathomixError: The split names patients that the cohort lacks, or one of them in two parts.
    """
    parts = parts_of(cases, split)
    frames, histories = [_no_predictions()], [_no_history()]
    failures: dict[Task, str] = {}
    state: dict[str, NDArray[np.generic]] = {}
    for group in [tuple(tasks)] if method.joint_tasks else [(task,) for task in tasks]:
        try:
            model = method.fit(parts["train"], parts["valid"], tasks=group, seed=seed)
            predicted = {part: model.predict(parts[part]) for part in PARTS}
            tables = {task: pd.concat([_frame(predicted[p][task], parts[p], task, p) for p in PARTS]) for task in group}
            for task, table in tables.items():
                _require_finite(table, task)
        except PathomixError as error:
            failures |= dict.fromkeys(group, str(error))
            continue
        frames.extend(tables.values())
        histories.append(model.history().assign(row=lambda frame: np.arange(len(frame))))
        state.update(model.state())
    return FoldResult(_stacked(frames), _stacked(histories), state, failures)


def _frame(predicted: pd.DataFrame, cases: Cases, task: Task, part: str) -> pd.DataFrame:
    outcome = cases.patients[["time", "event", "class_label"]].rename_axis("patient_id")
    frame = predicted.reindex(cases.ids).rename_axis("patient_id").join(outcome).reset_index()
    return frame.assign(task=task, part=part, **({} if "risk" in frame else {"risk": np.nan}))


def _require_finite(predicted: pd.DataFrame, task: Task) -> None:
    """NaN says that a patient lacks the modalities; an infinite or entirely missing prediction is a failed fit."""
    column = "risk" if task == "survival" else next(c for c in predicted.columns if c.startswith("probability_"))
    values = predicted[column].to_numpy(np.float64)
    if np.isinf(values).any() or np.isnan(values[(predicted["part"] == "train").to_numpy()]).all():
        raise PathomixError(
            "the fitted model does not give finite predictions for its own training patients",
            remedy="lower `learning_rate`, or raise the penalty",
        )


def _no_predictions() -> pd.DataFrame:
    return PREDICTIONS.validate(pd.DataFrame(columns=list(PREDICTIONS.columns)))


def _no_history() -> pd.DataFrame:
    return HISTORY.validate(pd.DataFrame(columns=list(HISTORY.columns)))


def _stacked(frames: list[pd.DataFrame]) -> pd.DataFrame:
    filled = [frame for frame in frames if len(frame)]
    return pd.concat(filled, ignore_index=True) if filled else frames[0]


@dataclass(frozen=True)
class Cell:
    """One cell of a study's grid: a named row on one cohort and scheme.

    Attributes:
        study: Study name.
        name: The row's name in the study (not the method's name in the registry).
        cohort: Cohort name.
        scheme: Splitting scheme.
        configuration: Key `method` and its parameters.
        tasks: Tasks to fit.
        seeds: One run per fold and seed.
        code_digest: Digest of the code the method reaches, empty when run by hand.
        inputs: Name to sha256 of every input file except the splits.
    """

    study: str
    name: str
    cohort: str
    scheme: str
    configuration: Mapping[str, Any]
    tasks: tuple[Task, ...]
    seeds: tuple[int, ...]
    code_digest: str
    inputs: Mapping[str, str]


def run_cell(
    cell: Cell,
    cases: Cases,
    splits: pd.DataFrame,
    results: str | os.PathLike[str],
    index: str | os.PathLike[str],
    vectors: VectorStore | None = None,
    guard: Guard | None = None,
    tuning: Tuning | None = None,
) -> None:
    """Run all folds and seeds; a unit whose ``run.json`` has the same key and whose files are whole is kept.

    Args:
        cell: What to run.
        cases: The cohort.
        splits: SPLITS table of the scheme.
        results: Results folder.
        index: RUN_INDEX table to write, one row per fold and seed; a task that failed is named in `reason`.
        vectors: Embeddings of the cohort, for methods that read `Cases.vectors`: every fold and seed gets its own.
        guard: Asked after every fit, before its predictions are written; `evaluate.leakage.guard` gives one.
        tuning: How settings are chosen, anew in every fold and with every seed; None: they are those of the cell.

    Raises:
        PathomixError: The configuration or a candidate of the tuning is refused, a split is damaged, the vectors lack
            a fold or seed, or a fit leaks.
    """
    method: Method | Tuning
    if tuning is None:
        method = build_method(cell.configuration)
    else:
        tuning.check(cell.configuration)
        method = tuning
    root = Path(results)
    rows = []
    for fold, split in splits.groupby("fold"):
        for seed in cell.seeds:
            folder = root / "runs" / cell.study / cell.name / cell.cohort / f"{cell.scheme}-{fold}" / f"seed{seed}"
            row = _unit(cell, method, cases, split, int(str(fold)), seed, folder, vectors, guard)
            rows.append({**row, "path": (folder / "predictions.parquet").relative_to(root).as_posix()})
    frame = pd.DataFrame(rows)
    failed = frame["status"] == "failed"
    frame.loc[failed, ["path", "sha256"]] = None
    write_table(frame, RUN_INDEX, index, _provenance(cell, "run_index", splits, tuning))


def _unit(
    cell: Cell,
    method: Method | Tuning,
    cases: Cases,
    split: pd.DataFrame,
    fold: int,
    seed: int,
    folder: Path,
    vectors: VectorStore | None,
    guard: Guard | None,
) -> dict[str, Any]:
    """Run one fold and seed, or find it done; its row of the index."""
    where = f"{cell.name} on {cell.cohort}, fold {fold}, seed {seed}"
    tuning = method if isinstance(method, Tuning) else None
    provenance = _provenance(cell, "run", split, tuning, fold=fold, seed=seed)
    key = content_key(**{k: v for k, v in provenance.to_dict().items() if k != "artifact"})
    record = read_record(folder, key)
    if record is None:
        fitted = Tuned(cell.configuration, method, split, where) if isinstance(method, Tuning) else method
        with recording() as fitting:
            embedded = cases if vectors is None else replace(cases, vectors=vectors.of(fold, seed))
            result = run_fold(fitted, embedded, split, cell.tasks, seed)
        fit = Fit(
            where,
            fitting,
            {str(part): frozenset(rows) for part, rows in split.groupby("part")["patient_id"]},
            getattr(fitted, "fitted_parts", ("train",)),
            inherited=vectors.leaks(fold, seed) if isinstance(vectors, LeakingVectors) else {},
        )
        tuned = fitted if isinstance(fitted, Tuned) else None
        if guard is not None:
            for each in [*(tuned.fits if tuned else ()), fit]:
                guard(each)
        record = _write(folder, key, result, cell.tasks, provenance, fit, tuned)
        log.info("%s: done", where)
    else:
        log.info("%s: kept", where)
    failures = record["failures"]
    for task, reason in failures.items():
        log.warning("%s: %s failed: %s", where, task, reason)
    return {
        "study": cell.study,
        "method": cell.name,
        "cohort": cell.cohort,
        "scheme": cell.scheme,
        "fold": fold,
        "seed": seed,
        "task": ",".join(cell.tasks),
        "status": "failed" if len(failures) == len(cell.tasks) else "done",
        "reason": "; ".join(f"{task}: {failures[task]}" for task in sorted(failures)) or None,
        "sha256": record["files"]["predictions.parquet"],
    }


def _provenance(cell: Cell, artifact: str, split: pd.DataFrame, tuning: Tuning | None, **more: Any) -> Provenance:
    """Lineage of a run; of the splits only the rows used count, so that a new fold leaves the others alone."""
    parameters = {
        "configuration": dict(cell.configuration),
        "tasks": list(cell.tasks),
        "code": cell.code_digest,
        **(more or {"seeds": list(cell.seeds)}),
    }
    inputs = {**cell.inputs, "splits": split_key(split)}
    if tuning is not None:
        parameters["tuning"], inputs["inner_splits"] = tuning.lineage(sorted(int(f) for f in split["fold"].unique()))
    return Provenance(artifact, 1, inputs, parameters)


def _write(
    folder: Path,
    key: str,
    result: FoldResult,
    tasks: Sequence[Task],
    provenance: Provenance,
    fit: Fit,
    tuned: Tuned | None,
) -> dict[str, Any]:
    """Write the unit's files, ``run.json`` with their digests last: a unit counts as done when all of them agree."""
    write_table(result.predictions, PREDICTIONS, folder / "predictions.parquet", provenance)
    history = result.history if tuned is None else tuned.history(result.history)
    write_table(history, HISTORY, folder / "history.parquet", provenance)
    write_arrays(folder / "model.safetensors", result.state, {METADATA_KEY: provenance.to_json()})
    files = ("predictions.parquet", "history.parquet", "model.safetensors")
    content = {
        "provenance": provenance.to_dict(),
        "tasks": {task: "failed" if task in result.failures else "done" for task in tasks},
        "failures": dict(result.failures),
        **fit.facts(),
        **({} if tuned is None else {"tuning": tuned.facts()}),
    }
    return write_record(folder, key, files, content)
