"""The test part of each run as plain arrays: outcomes from all runs, predictions from this one.

The metrics that weigh by the probability of censoring also get the follow-up of the fold's training part (from all
runs, so that all rows of a fold have the same weights), and those of survival probabilities the run's own training
risks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pathomix.core.errors import PathomixError
from pathomix.evaluate.predictions import PROBABILITY, Runs
from pathomix.survival.censoring import Censoring

Floats = NDArray[np.float64]
# Where between the events of a cohort the time-dependent metrics look; Uno's c is truncated at the last.
TIME_QUANTILES = (0.2, 0.4, 0.6, 0.8)


@dataclass(frozen=True)
class TrainedRisks:
    """Training rows of one run that have a known outcome and a risk.

    Attributes:
        time: [n] months.
        event: [n] 0/1.
        risk: [n], higher = worse.
    """

    time: Floats
    event: Floats
    risk: Floats


@dataclass(frozen=True)
class TestPart:
    """Test rows of one run that have a known outcome and a prediction: one per patient, or one per region.

    Attributes:
        position: int [n], place of each row's patient among the test patients of the cohort.
        time: [n] months.
        event: [n] 0/1.
        risk: [n], higher = worse.
        class_label: [n] observed class.
        classes: Classes of the training part.
        probability: [n, classes].
        tested: All test patients with a known outcome.
        missing: Those without prediction, left out of the arrays.
        times: [k] months, where time-dependent metrics look: quantiles of the cohort's event times, ascending.
        censoring: Of the outcomes of the fold's training part; None where no run of the fold tells them.
        trained: The run's own training risks; None where it has none.
    """

    __test__ = False  # the name is the field's own; pytest need not collect it

    position: NDArray[np.intp]
    time: Floats
    event: Floats
    risk: Floats
    class_label: NDArray[np.object_]
    classes: tuple[str, ...]
    probability: Floats
    tested: frozenset[str]
    missing: frozenset[str]
    times: Floats = field(default_factory=lambda: np.zeros(0))
    censoring: Censoring | None = None
    trained: TrainedRisks | None = None


@dataclass(frozen=True)
class Block:
    """All runs of one cohort, scheme and task.

    Attributes:
        cohort: Cohort.
        scheme: Scheme of splits.
        task: Task.
        patients: Distinct test patients with a known outcome, sorted.
        events: Events among them; None for a task without events.
        runs: One row per run: `run`, `method`, `fold`, `seed`, `problem`.
        overlapping: Whether a patient is tested in several folds.
        times: See `TestPart`.
    """

    cohort: str
    scheme: str
    task: str
    patients: tuple[str, ...]
    events: int | None
    runs: pd.DataFrame
    overlapping: bool
    times: Floats
    _outcomes: Mapping[int, Mapping[str, NDArray[Any]]]
    _predictions: Mapping[int, pd.DataFrame]
    _trained: Mapping[int, frozenset[str]]
    _censoring: Mapping[int, Censoring]
    _risks: Mapping[int, TrainedRisks]

    def tested(self, fold: int) -> frozenset[str]:
        """Test patients of a fold whose outcome is known."""
        outcome = self._outcomes.get(fold)
        return frozenset() if outcome is None else frozenset(np.array(self.patients, dtype=object)[outcome["position"]])

    def outcomes(self) -> tuple[Floats, Floats]:
        """Time and event (0/1) of each of `patients`."""
        time, event = np.full((2, len(self.patients)), np.nan)
        for outcome in self._outcomes.values():
            time[outcome["position"]], event[outcome["position"]] = outcome["time"], outcome["event"]
        return time, event

    def events_in(self, fold: int) -> int | None:
        """Events among the test patients of a fold; None for a task without events."""
        if self.task != "survival":
            return None
        return int(self._outcomes[fold]["event"].sum()) if fold in self._outcomes else 0

    def trained(self, run: int) -> frozenset[str]:
        """Training and validation patients a run predicts; read for overlapping folds alone."""
        return self._trained.get(run, frozenset())

    def part(self, run: int, fold: int) -> TestPart | None:
        """Test part of a run, None where it has no row or the fold no patient with a known outcome."""
        outcome, predicted = self._outcomes.get(fold), self._predictions.get(run)
        if outcome is None or predicted is None:
            return None
        columns = _score_columns(predicted, self.task)
        values = predicted[columns].to_numpy(np.float64)
        # Place of each predicted row's patient in the outcomes of the fold; -1 is a patient of no known outcome.
        place = np.full(len(self.patients) + 1, -1)
        place[outcome["position"]] = np.arange(len(outcome["position"]))
        row = place[predicted["position"].to_numpy()]
        usable = np.flatnonzero((row >= 0) & np.isfinite(values).all(axis=1) & (len(columns) > 0))
        usable = usable[np.argsort(row[usable], kind="stable")]
        row, values = row[usable], values[usable]
        ids = np.array(self.patients, dtype=object)[outcome["position"]]
        survival = self.task == "survival"
        return TestPart(
            position=outcome["position"][row],
            time=outcome["time"][row],
            event=outcome["event"][row],
            risk=values[:, 0] if survival else np.full(len(row), np.nan),
            class_label=outcome["class_label"][row],
            classes=() if survival else tuple(name.removeprefix(PROBABILITY) for name in columns),
            probability=values[:, :0] if survival else values,
            tested=frozenset(ids),
            missing=frozenset(ids) - frozenset(ids[row]),
            times=self.times,
            censoring=self._censoring.get(fold),
            trained=self._risks.get(run),
        )


def _score_columns(predicted: pd.DataFrame, task: str) -> list[str]:
    if task == "survival":
        return ["risk"]
    # Tables of several cohorts were joined: a class of another cohort is a column without any value here.
    names = (str(name) for name in predicted.columns)
    return sorted(name for name in names if name.startswith(PROBABILITY) and predicted[name].notna().any())


def blocks(runs: Runs) -> Iterator[Block]:
    """Every cohort, scheme and task of a study, in sorted order.

    Raises:
        PathomixError: Runs disagree about the outcome of a training patient.
    """
    place = ["cohort", "scheme", "task"]
    followed = _followed(runs)
    expected = dict(iter(runs.expected.groupby(place)))
    test = runs.predictions[runs.predictions["part"] == "test"]
    for key, listed in runs.index.groupby(place):
        cohort, scheme, task = (str(item) for item in key)
        known = expected.get(key, runs.expected.iloc[:0])
        patients = pd.Index(sorted(known["patient_id"].unique()))
        known = known.assign(position=patients.get_indexer(known["patient_id"]))
        outcomes = {
            int(str(fold)): {name: part[name].to_numpy() for name in ("position", "time", "event", "class_label")}
            for fold, part in known.groupby("fold")
        }
        mine = test[(test["task"] == task) & test["run"].isin(listed["run"])]
        mine = mine.assign(position=patients.get_indexer(mine["patient_id"]))
        events = int(known.drop_duplicates("patient_id")["event"].sum()) if task == "survival" else None
        rows = listed[["run", "method", "fold", "seed", "problem"]].reset_index(drop=True)
        predicted = {int(str(run)): part for run, part in mine.groupby("run")}
        overlapping = bool(known["patient_id"].duplicated().any())
        trained = _trained(runs.predictions, listed["run"], task) if overlapping else {}
        train = followed[followed["run"].isin(rows.loc[rows["problem"].isna(), "run"])] if task == "survival" else None
        yield Block(
            cohort,
            scheme,
            task,
            tuple(patients),
            events,
            rows,
            overlapping,
            times=event_times(known) if task == "survival" else np.zeros(0),
            _outcomes=outcomes,
            _predictions=predicted,
            _trained=trained,
            _censoring={} if train is None else _censoring(train, rows, cohort),
            _risks={} if train is None else _risks(train),
        )


def _trained(predictions: pd.DataFrame, runs: pd.Series, task: str) -> dict[int, frozenset[str]]:
    """Per run the patients outside the test part that have a known outcome and a prediction."""
    rows = predictions[(predictions["part"] != "test") & (predictions["task"] == task) & predictions["run"].isin(runs)]
    known = ["time", "event", "risk"] if task == "survival" else ["class_label"]
    rows = rows[rows[known].notna().all(axis=1)]
    if task != "survival":
        rows = rows[rows[[name for name in rows if str(name).startswith(PROBABILITY)]].notna().any(axis=1)]
    return {int(str(run)): frozenset(ids) for run, ids in rows.groupby("run")["patient_id"]}


def event_times(outcomes: pd.DataFrame) -> Floats:
    """Quantiles of the event times of distinct patients, ascending; none without an event.

    Args:
        outcomes: Columns `patient_id`, `time` and `event`.
    """
    once = outcomes.drop_duplicates("patient_id")
    times = once.loc[once["event"] == 1, "time"].to_numpy(np.float64)
    return np.unique(np.quantile(times, TIME_QUANTILES)) if len(times) else np.zeros(0)


def _followed(runs: Runs) -> pd.DataFrame:
    """Training rows of the task survival that have an outcome."""
    rows = runs.predictions[(runs.predictions["part"] == "train") & (runs.predictions["task"] == "survival")]
    return rows.loc[rows["time"].notna() & rows["event"].notna(), ["run", "patient_id", "time", "event", "risk"]]


def _censoring(train: pd.DataFrame, listed: pd.DataFrame, cohort: str) -> dict[int, Censoring]:
    """Per fold the censoring of its training part, every patient once."""
    columns = ["patient_id", "time", "event"]
    fold = train["run"].map(dict(zip(listed["run"], listed["fold"], strict=True)))
    once = train[columns].assign(fold=fold).drop_duplicates()
    outcomes = once[columns].drop_duplicates()
    clash = outcomes.loc[outcomes["patient_id"].duplicated(), "patient_id"]
    if len(clash):
        raise PathomixError(
            f"runs of one study disagree about the outcome of training patients of {cohort}",
            offending=clash.unique(),
            remedy="delete the runs of this study made before the cohort changed, and run it again",
        )
    return {int(str(key)): Censoring.of(part["time"], part["event"]) for key, part in once.groupby("fold")}


def _risks(train: pd.DataFrame) -> dict[int, TrainedRisks]:
    """Per run its training rows with a risk."""
    usable = train[train["risk"].notna()]
    return {
        int(str(run)): TrainedRisks(*(part[name].to_numpy(np.float64) for name in ("time", "event", "risk")))
        for run, part in usable.groupby("run")
    }
