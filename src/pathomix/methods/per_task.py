"""Base of methods that treat each task on its own: one fit, one model, one state per task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pathomix.cohort.cases import Cases
from pathomix.core.errors import PathomixError
from pathomix.core.fitting import note_fitted
from pathomix.methods.base import Model, Task


class TaskModel(Protocol):
    """A method fitted for one task."""

    def predict(self, cases: Cases) -> pd.DataFrame:
        """Columns of the task for the patients who have what the method needs, index ``patient_id``."""
        ...

    def state(self) -> Mapping[str, NDArray[np.generic]]:
        """Named arrays to rebuild it."""
        ...

    def history(self) -> pd.DataFrame:
        """One row per step or candidate, column ``step`` and what was measured."""
        ...


@dataclass(frozen=True)
class PerTaskModel:
    """Fitted tasks side by side; fulfils `methods.base.Model`."""

    models: Mapping[Task, TaskModel]

    def predict(self, cases: Cases) -> dict[Task, pd.DataFrame]:
        """Per task, all patients of `cases`; NaN for those without the modalities."""
        return {task: model.predict(cases).reindex(cases.ids) for task, model in self.models.items()}

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Arrays named ``<task>.<name>``."""
        return {f"{task}.{name}": value for task, m in self.models.items() for name, value in m.state().items()}

    def history(self) -> pd.DataFrame:
        """Histories of all tasks, with the column ``task``."""
        parts = [model.history().assign(task=task) for task, model in self.models.items()]
        return pd.concat(parts, ignore_index=True)


class PerTaskMethod(ABC):
    """Fits each task on the patients whose outcome of that task is known."""

    joint_tasks: bool = False
    joins_valid: bool = False
    """Whether the valid part is joined to the training part (no selection on it, hence in-sample there)."""

    def fit(self, train: Cases, valid: Cases, *, tasks: Sequence[Task], seed: int) -> Model:
        """See `methods.base.Method.fit`."""
        models: dict[Task, TaskModel] = {}
        for task in tasks:
            part, held = labelled(train, task), labelled(valid, task)
            joined = part.concat(held) if self.joins_valid else part
            require_outcome(joined, task)
            note_fitted("training", joined.ids)
            models[task] = self.fit_task(joined, part.subset([]) if self.joins_valid else held, task, seed)
        return PerTaskModel(models)

    @property
    def fitted_parts(self) -> tuple[str, ...]:
        """Parts of a fold that the method may be fitted on, for the leakage guard."""
        return ("train", "valid") if self.joins_valid else ("train",)

    @abstractmethod
    def fit_task(self, train: Cases, valid: Cases, task: Task, seed: int) -> TaskModel:
        """Fit one task; every patient handed over has its outcome, `valid` is empty where it was joined."""


def labelled(cases: Cases, task: Task) -> Cases:
    """The patients whose outcome of the task is known."""
    return cases.with_survival() if task == "survival" else cases.with_class()


def require_outcome(train: Cases, task: Task) -> None:
    """Refuse a training part that cannot carry the task.

    Raises:
        PathomixError: No patient with the outcome, no event, or a single class.
    """
    if not len(train.ids):
        raise PathomixError(f"no training patient has a known outcome for {task}", remedy="leave the task out")
    if task == "survival" and not (train.patients["event"] == 1).any():
        raise PathomixError(
            f"no event among {len(train.ids)} training patients", remedy="leave survival out for this cohort"
        )
    if task == "subtype" and len(train.classes) < 2:
        raise PathomixError(
            "the training patients are all of one class",
            offending=train.classes,
            remedy="leave subtype out for this cohort",
        )


def outcome(cases: Cases) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Time (months) and event of every patient, known for all of them."""
    return cases.patients["time"].to_numpy(np.float64), cases.patients["event"].to_numpy(np.int64)


def class_index(cases: Cases, classes: Sequence[str]) -> NDArray[np.int64]:
    """Position of every patient's class in `classes`, -1 for a class that is not among them."""
    return pd.Index(classes).get_indexer(pd.Index(cases.patients["class_label"])).astype(np.int64)


def strata(cases: Cases, task: Task) -> NDArray[np.int64]:
    """What folds and batches are stratified by: event, or class."""
    note_fitted("sampler", cases.ids)
    return outcome(cases)[1] if task == "survival" else class_index(cases, cases.classes)


def probability_frame(values: NDArray[np.floating], classes: Sequence[str], index: pd.Index) -> pd.DataFrame:
    """Class probabilities [n, classes] as columns ``probability_<class>``."""
    return pd.DataFrame(np.asarray(values, dtype=np.float64), index, [f"probability_{name}" for name in classes])


def risk_frame(values: NDArray[np.floating], index: pd.Index) -> pd.DataFrame:
    """Risks [n] as the column ``risk``."""
    return pd.DataFrame({"risk": np.asarray(values, dtype=np.float64)}, index=index)


def balanced_accuracy(true: NDArray[np.int64], predicted: NDArray[np.int64]) -> float:
    """Mean recall over the classes present in `true`; NaN without any patient."""
    classes = np.unique(true)
    return float(np.mean([(predicted[true == c] == c).mean() for c in classes])) if len(classes) else float("nan")
