"""Read the predictions of many runs at once and keep, per run, what is wrong with them.

Evaluation reads nothing but run indices and the ``predictions.parquet`` files they list. A file that cannot be trusted
takes its own run out of the tables, with a reason; it never takes another run with it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pathomix.core.errors import PathomixError
from pathomix.core.files import file_digest
from pathomix.core.schemas import PARTS, PREDICTIONS, RUN_INDEX, TASKS
from pathomix.core.tables import read_table
from pathomix.evaluate.units import PATIENT, REGION, REGION_ID, average_units

PROBABILITY = "probability_"
_RUN = ["method", "cohort", "scheme", "fold", "seed"]
_SHOWN = 5
# Probabilities of float32 networks add up to 1 only nearly.
_SLACK = 1e-5


@dataclass(frozen=True)
class Runs:
    """Predictions of the runs of one study.

    Attributes:
        study: Name of the study.
        index: One row per run and task, columns `run` (number of the file), `method`, `cohort`, `scheme`, `fold`,
            `seed`, `task` and `problem` (why this run cannot be evaluated for this task, None where it can).
        predictions: PREDICTIONS rows of all readable runs, with their number in `run`; several per patient where the
            unit is the region. A risk or probability that is not finite is NaN: that row has no prediction.
        expected: One row per test patient with a known outcome: `cohort`, `scheme`, `fold`, `task`, `patient_id`,
            `time`, `event`, `class_label`. It is the union over all runs, so a method that leaves a patient out is
            found out by the others.
    """

    study: str
    index: pd.DataFrame
    predictions: pd.DataFrame
    expected: pd.DataFrame


def named(ids: Iterable[object], shown: int = _SHOWN) -> str:
    """Sorted ids for a sentence: the first few and how many more."""
    texts = sorted({str(item) for item in ids})
    more = len(texts) - shown
    return ", ".join(texts[:shown]) + (f" and {more} more" if more > 0 else "")


def read_runs(
    indices: Sequence[str | os.PathLike[str]],
    results: str | os.PathLike[str],
    threads: int = 1,
    unit: str = PATIENT,
) -> Runs:
    """Read run indices and every predictions file they list.

    Args:
        indices: RUN_INDEX tables.
        results: Results folder that the paths in the indices are relative to.
        threads: Files read at the same time.
        unit: See `units.average_units`.

    Raises:
        PathomixError: An index is not one, two indices repeat a run or belong to different studies, a patient is in
            the training and the test part of one run, or two runs disagree about a patient's outcome.
    """
    index = _read_indices(indices)
    root = Path(results)
    with ThreadPoolExecutor(max_workers=max(threads, 1)) as pool:
        read = list(pool.map(lambda row: _read_file(root, row, unit), index.itertuples(index=False)))
    problems = pd.Series([item if isinstance(item, str) else None for item in read], dtype=object)
    tables = [
        item.append_column("run", pa.array(np.full(item.num_rows, number, dtype=np.int64)))
        for number, item in enumerate(read)
        if isinstance(item, pa.Table)
    ]
    predictions = _combined(tables)
    listed = _per_task(index.assign(problem=problems), predictions)
    listed = _with_doubled(listed, predictions)
    _refuse_leak(predictions, index)
    # Averaging comes last: rows of one patient that disagree about the outcome have to be seen as they are.
    expected = _expected(predictions, index)
    return Runs(str(index["study"].iloc[0]), listed, average_units(predictions, unit), expected)


def _read_indices(indices: Sequence[str | os.PathLike[str]]) -> pd.DataFrame:
    if not indices:
        raise PathomixError("no run index was given", remedy="pass the RUN_INDEX tables with --indices")
    index = pd.concat([read_table(path, RUN_INDEX) for path in indices], ignore_index=True)
    studies = sorted(index["study"].unique())
    if len(studies) != 1:
        raise PathomixError(
            "the run indices must hold the runs of one study", offending=studies, remedy="evaluate each study by itself"
        )
    repeated = index[index.duplicated(_RUN)]
    if len(repeated):
        raise PathomixError(
            "several run indices list the same run",
            offending=repeated[_RUN].astype(str).agg("/".join, axis=1),
            remedy="pass each index once",
        )
    return index.sort_values(_RUN, ignore_index=True)


def _read_file(root: Path, row: object, unit: str) -> pa.Table | str:
    """The table of one run, or the reason why there is none."""
    status, relative, sha256 = (getattr(row, name) for name in ("status", "path", "sha256"))
    if status != "done":
        return "run failed without a stated reason"
    if not isinstance(relative, str):
        return "the run index names no predictions file"
    path = root / relative
    try:
        if isinstance(sha256, str) and file_digest(path) != sha256:
            return f"{relative} is not the file its run index was written for"
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        return f"{relative} cannot be read ({type(error).__name__})"
    required = {*PREDICTIONS.columns, *([REGION_ID] if unit == REGION else [])}
    missing = sorted(required - set(table.column_names))
    if missing:
        return f"{relative} lacks the columns {named(missing)}"
    return _typed(table.replace_schema_metadata(None), relative)


def _typed(table: pa.Table, relative: str) -> pa.Table | str:
    """The columns evaluation reads, with one type for all files."""
    kinds = {"patient_id": pa.string(), "task": pa.string(), "part": pa.string(), "class_label": pa.string()}
    kinds |= {"risk": pa.float64(), "time": pa.float64(), "event": pa.float64()}
    kinds |= {name: pa.float64() for name in table.column_names if name.startswith(PROBABILITY)}
    if REGION_ID in table.column_names:
        kinds[REGION_ID] = pa.string()
        if table[REGION_ID].null_count:
            return f"{relative} has rows without a region"
    try:
        typed = table.select(list(kinds)).cast(pa.schema(kinds))
    except pa.ArrowException as error:
        return f"{relative} has values of the wrong type ({error})"
    wrong = _wrong_values(typed)
    return f"{relative}: {wrong}" if wrong else typed


def _wrong_values(table: pa.Table) -> str | None:
    """The first value that no prediction can have, and whose it is; a missing one is not wrong where it may be."""
    if nameless := table["patient_id"].null_count:
        return f"{nameless} rows without a patient"
    checks = {
        f"task is not one of {', '.join(TASKS)}": pc.invert(pc.is_in(table["task"], pa.array(TASKS))),
        f"part is not one of {', '.join(PARTS)}": pc.invert(pc.is_in(table["part"], pa.array(PARTS))),
        "event is not 0 or 1": pc.invert(pc.is_in(table["event"], pa.array([0.0, 1.0, np.nan, None]))),
        "time is negative or infinite": pc.or_(pc.less(table["time"], 0.0), pc.is_inf(table["time"])),
    }
    for name in table.column_names:
        if name.startswith(PROBABILITY):
            outside = pc.or_(pc.less(table[name], -_SLACK), pc.greater(table[name], 1 + _SLACK))
            checks[f"{name} is not between 0 and 1"] = pc.and_(outside, pc.is_finite(table[name]))
    for fact, bad in checks.items():
        if pc.any(bad).as_py():
            return f"{fact} for {named(table.filter(bad)['patient_id'].to_pylist())}"
    return None


def _combined(tables: list[pa.Table]) -> pd.DataFrame:
    if not tables:
        columns = ["patient_id", "task", "part", "class_label", "risk", "time", "event", "run"]
        return pd.DataFrame({name: pd.Series(dtype="int64" if name == "run" else "float64") for name in columns})
    frame: pd.DataFrame = pa.concat_tables(tables, promote_options="default").to_pandas()
    scores = ["risk", *(c for c in frame.columns if c.startswith(PROBABILITY))]
    frame[scores] = frame[scores].where(np.isfinite(frame[scores]))
    return frame


def _per_task(index: pd.DataFrame, predictions: pd.DataFrame) -> pd.DataFrame:
    """One row per run and task: the tasks a run declares and those it predicted."""
    found = predictions.groupby("run")["task"].unique().to_dict()
    rows = []
    for number, record in enumerate(index[[*_RUN, "task", "reason", "problem"]].to_dict("records")):
        predicted, stated = set(found.get(number, ())), record.pop("reason")
        for task in TASKS:
            if task in predicted | set(re.findall(r"\w+", record["task"])):
                gone = None if task in predicted else "the run predicted nothing for this task"
                problem = _stated(stated, task) or record["problem"] or gone
                rows.append({**record, "task": task, "run": number, "problem": problem})
    return pd.DataFrame(rows, columns=["run", *_RUN, "task", "problem"])


def _stated(reason: object, task: str) -> str | None:
    """The reason a run index states for a task: ``survival: ...; subtype: ...``, or one text for all of them."""
    if not isinstance(reason, str):
        return None
    pieces = re.split(rf"(?:^|; )({'|'.join(TASKS)}): ", reason)
    by_task = dict(zip(pieces[1::2], pieces[2::2], strict=True))
    text = by_task.get(task) if by_task else reason
    return None if text is None else f"run failed: {text}"


def _with_doubled(listed: pd.DataFrame, predictions: pd.DataFrame) -> pd.DataFrame:
    """Mark the runs that predict a patient (or a region of one) twice in one part."""
    key = ["run", "task", "part", "patient_id", *([REGION_ID] if REGION_ID in predictions else [])]
    twice = predictions[predictions.duplicated(key)]
    problem = {
        key: f"patients predicted twice: {named(ids)}" for key, ids in twice.groupby(["run", "task"])["patient_id"]
    }
    found = pd.Series([problem.get(key) for key in zip(listed["run"], listed["task"], strict=True)], dtype=object)
    return listed.assign(problem=listed["problem"].where(listed["problem"].notna(), found))


def _refuse_leak(predictions: pd.DataFrame, index: pd.DataFrame) -> None:
    test = predictions["part"] == "test"
    key = ["run", "task", "patient_id"]
    both = predictions.loc[test, key].merge(predictions.loc[~test, key].drop_duplicates(), on=key)
    if len(both):
        method, cohort, fold = index.loc[both["run"].iloc[0], ["method", "cohort", "fold"]]
        raise PathomixError(
            f"{method} on {cohort}, fold {fold}: patients are in the test part and in another part of the same run",
            offending=both["patient_id"].unique(),
            remedy="correct the splits of this cohort and run the study again",
        )


def _expected(predictions: pd.DataFrame, index: pd.DataFrame) -> pd.DataFrame:
    place = ["cohort", "scheme", "fold"]
    test = predictions[predictions["part"] == "test"]
    followed = test["time"].notna() & test["event"].notna()
    known = np.where(test["task"] == "survival", followed, test["class_label"].notna())
    outcome = ["time", "event", "class_label"]
    rows = test.loc[known, ["run", "task", "patient_id", *outcome]].join(index[place], on="run").drop(columns="run")
    # Survival rows need not agree on the class label nor the reverse: compare what the task uses.
    rows.loc[rows["task"] == "survival", "class_label"] = None
    rows.loc[rows["task"] == "subtype", ["time", "event"]] = np.nan
    rows = rows.drop_duplicates(ignore_index=True)
    clash = rows.drop(columns="fold").drop_duplicates()
    clash = clash[clash.duplicated(["cohort", "task", "scheme", "patient_id"])]
    if len(clash):
        raise PathomixError(
            f"runs of one study disagree about the outcome of patients of {named(clash['cohort'])}",
            offending=clash["patient_id"].unique(),
            remedy="delete the runs of this study made before the cohort changed, and run it again",
        )
    return rows.sort_values([*place, "task", "patient_id"], ignore_index=True)
