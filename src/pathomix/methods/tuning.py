"""Settings chosen by inner folds: every candidate of a declared grid is examined alike, the best one is fitted.

The candidates of one outer fold are compared on the inner folds of its training part (`cohort.nested_splits`), so the
choice has seen neither the outer valid nor the outer test part. The score is Harrell's c for survival and balanced
accuracy for subtype, averaged over the inner folds; every candidate gets the same inner folds and the same seed.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pathomix.cohort.cases import Cases
from pathomix.cohort.inner_splits import inner_splits
from pathomix.cohort.parts import parts_of
from pathomix.core.errors import PathomixError
from pathomix.core.files import content_key
from pathomix.core.fitting import TRAIN, VALID, Fit, note_fitted, recording
from pathomix.core.seeds import derived_seed
from pathomix.core.units import split_key
from pathomix.methods.base import Method, Model, Task
from pathomix.methods.build import build_method
from pathomix.methods.per_task import balanced_accuracy, class_index, labelled, outcome
from pathomix.survival.concordance import harrell_c

log = logging.getLogger(__name__)

_PROBABILITY = "probability_"


@dataclass(frozen=True)
class Tuning:
    """How the settings of a row are chosen.

    Attributes:
        grid: Parameter of the method to the values tried; they stand in for what the row's configuration gives.
        budget: Most candidates examined, the same for every tuned row.
        inner: INNER_SPLITS table of the outer scheme.
    """

    grid: Mapping[str, Sequence[Any]]
    budget: int
    inner: pd.DataFrame

    def __post_init__(self) -> None:
        empty = sorted(name for name, values in self.grid.items() if not values)
        if empty or not self.grid or self.budget < 1:
            raise PathomixError(
                "tuning: a grid needs values for every parameter, and a budget of at least 1",
                offending=empty,
                remedy="correct `tuning`",
            )

    @property
    def size(self) -> int:
        """Candidates of the whole grid."""
        return math.prod(len(values) for values in self.grid.values())

    @property
    def candidates(self) -> tuple[dict[str, Any], ...]:
        """The candidates examined, in the order of the grid (parameters by name, the last one running fastest).

        A grid larger than the budget is drawn from without replacement; the draw depends on the grid alone, so that
        all folds and seeds of a row examine the same candidates.
        """
        names = sorted(self.grid)
        lengths = [len(self.grid[name]) for name in names]
        places = np.arange(self.size)
        if self.size > self.budget:
            seed = derived_seed(0, "tuning", json.dumps(self.grid, sort_keys=True))
            places = np.sort(np.random.default_rng(seed).choice(self.size, self.budget, replace=False))
        positions = zip(*np.unravel_index(places, lengths), strict=True)
        return tuple(
            {name: self.grid[name][int(at)] for name, at in zip(names, position, strict=True)} for position in positions
        )

    def check(self, configuration: Mapping[str, Any]) -> None:
        """Refuse candidates that the method refuses, before anything is fitted.

        Raises:
            PathomixError: A candidate's settings are not valid, the candidate named.
        """
        for candidate in self.candidates:
            try:
                build_method({**configuration, **candidate})
            except PathomixError as error:
                raise PathomixError(
                    f"tuning: candidate {_text(candidate)}: {error.fact}",
                    offending=error.offending,
                    remedy="take the value out of `tuning.grid`",
                ) from error

    def lineage(self, folds: Sequence[int]) -> tuple[dict[str, Any], str]:
        """What the choice in these outer folds depends on: parameters, and the key of their inner splits."""
        keys = [split_key(inner_splits(self.inner, fold)) for fold in folds]
        return {"grid": {k: list(v) for k, v in self.grid.items()}, "budget": self.budget}, content_key(keys=keys)


class Tuned:
    """A method whose settings are chosen while it is fitted, in one outer fold with one seed.

    Fulfils `methods.base.Method`; what it examined and chose stays with it, also where no candidate could be fitted.

    Attributes:
        fits: The inner fits, for the leakage guard: their own train, valid and test parts.

    Args:
        configuration: Key `method` and its parameters.
        tuning: Grid, budget and inner splits.
        split: SPLITS rows of the outer fold.
        where: Row, cohort, fold and seed, for messages.

    Raises:
        PathomixError: The inner splits lack the outer fold, or hold patients outside of its training part.
    """

    def __init__(self, configuration: Mapping[str, Any], tuning: Tuning, split: pd.DataFrame, where: str) -> None:
        self.configuration, self.tuning, self.where = configuration, tuning, where
        self.candidates = tuning.candidates
        self.joint_tasks = build_method({**configuration, **self.candidates[0]}).joint_tasks
        self.fits: list[Fit] = []
        self._inner = _inside(inner_splits(tuning.inner, int(split["fold"].iloc[0])), split)
        self._examined: list[dict[str, Any]] = []
        self._chosen: dict[Task, dict[str, Any]] = {}
        self._parts: set[str] = {TRAIN}

    @property
    def fitted_parts(self) -> tuple[str, ...]:
        """Parts of the outer fold that the chosen candidates may be fitted on."""
        return tuple(part for part in (TRAIN, VALID) if part in self._parts)

    def fit(self, train: Cases, valid: Cases, *, tasks: Sequence[Task], seed: int) -> Model:
        """Examine the candidates on the inner folds, then fit the best on the whole training part.

        Raises:
            PathomixError: No candidate can be scored, or the best one cannot be fitted.
        """
        rows = [
            row
            for number in range(len(self.candidates))
            for fold, inner in self._inner.groupby("fold")
            for row in self._examine(number, int(str(fold)), train, inner, tasks, seed)
        ]
        self._examined += rows
        note_fitted("selection", self._inner["patient_id"].unique())
        best = self._choose(pd.DataFrame(rows), tasks)
        for task, facts in best.items():
            self._chosen[task] = facts
            log.info("%s: %s: %s", self.where, task, _text(facts["settings"]))
        method = self._method(next(iter(best.values()))["candidate"])
        self._parts |= set(_fitted_parts(method))
        return method.fit(train, valid, tasks=tasks, seed=seed)

    def history(self, fitted: pd.DataFrame) -> pd.DataFrame:
        """HISTORY rows: every candidate and inner fold, then those of the fits of the chosen candidates.

        Rows of the search have `step` = candidate and `tuning_settings` (JSON), `tuning_fold`, `tuning_score`, and
        `tuning_reason` where there is no score; these columns are empty in the rows of the fits.
        """
        examined = pd.DataFrame(self._examined)
        examined["row"] = examined.groupby("task").cumcount()
        if not len(fitted):
            return examined
        before = fitted["task"].map(examined.groupby("task").size()).fillna(0).astype("int64")
        return pd.concat([examined, fitted.assign(row=fitted["row"] + before)], ignore_index=True)

    def facts(self) -> dict[str, Any]:
        """Entry of ``run.json``: budget, grid and candidates examined, and per task what was chosen."""
        size = self.tuning.size
        return {
            "budget": self.tuning.budget,
            "grid": size,
            "examined": len(self.candidates),
            "whole_grid": size <= self.tuning.budget,
            "inner_folds": int(self._inner["fold"].nunique()),
            "chosen": {task: self._chosen[task] for task in sorted(self._chosen)},
        }

    def _method(self, number: int) -> Method:
        return build_method({**self.configuration, **self.candidates[number]})

    def _examine(
        self, number: int, fold: int, train: Cases, inner: pd.DataFrame, tasks: Sequence[Task], seed: int
    ) -> list[dict[str, Any]]:
        """One row per task: the score of a candidate on the test part of an inner fold, or why there is none."""
        parts, method = parts_of(train, inner), self._method(number)
        scores: dict[Task, float] = {}
        reason = None
        with recording() as record:
            try:
                model = method.fit(parts["train"], parts["valid"], tasks=tasks, seed=seed)
                predicted = model.predict(parts["test"])
                scores = {task: _score(predicted[task], parts["test"], task) for task in tasks}
            except PathomixError as error:
                scores, reason = {}, str(error)
        where = f"{self.where}, inner fold {fold}, candidate {_text(self.candidates[number])}"
        self.fits.append(Fit(where, record, {p: frozenset(c.ids) for p, c in parts.items()}, _fitted_parts(method)))
        return [
            {
                "task": task,
                "step": number,
                "tuning_settings": _text(self.candidates[number]),
                "tuning_fold": fold,
                "tuning_score": scores.get(task, math.nan),
                "tuning_reason": reason or (None if np.isfinite(scores[task]) else "no two held-out patients compare"),
            }
            for task in tasks
        ]

    def _choose(self, rows: pd.DataFrame, tasks: Sequence[Task]) -> dict[Task, dict[str, Any]]:
        """The candidate with the best mean score, the first of equals; the same one for all tasks of `rows`.

        An inner fold that no candidate could be scored in counts for none; a candidate without a score where another
        has one is out, as its mean would be of other folds.
        """
        table = rows.pivot(index="step", columns=["task", "tuning_fold"], values="tuning_score").dropna(
            axis="columns", how="all"
        )
        whole = table.dropna()
        if not len(whole) or not table.shape[1]:
            reasons = rows.dropna(subset="tuning_reason").drop_duplicates("step").groupby("tuning_reason", sort=False)
            settings = {str(why): list(named["tuning_settings"]) for why, named in reasons}
            raise PathomixError(
                f"none of {len(self.candidates)} candidates could be scored in the inner folds",
                offending=[
                    why if len(named) == len(self.candidates) else f"{', '.join(named)} ({why})"
                    for why, named in settings.items()
                ],
                remedy="correct `tuning.grid` or the inner splits, or leave the task out for this cohort",
            )
        means = {task: whole.loc[:, [task]].mean(axis="columns") for task in tasks if task in whole.columns}
        number = int(pd.DataFrame(means).mean(axis="columns").round(12).idxmax())
        return {
            task: {
                "candidate": number,
                "settings": self.candidates[number],
                "score": float(mean[number]),
                "scored_folds": whole.loc[:, [task]].shape[1],
            }
            for task, mean in means.items()
        }


def _inside(inner: pd.DataFrame, split: pd.DataFrame) -> pd.DataFrame:
    outside = pd.Index(inner["patient_id"].unique()).difference(
        pd.Index(split.loc[split["part"] == TRAIN, "patient_id"])
    )
    if len(outside):
        raise PathomixError(
            f"inner splits of fold {split['fold'].iloc[0]} hold patients outside of its training part",
            offending=outside,
            remedy="run nest_splits again with these splits",
        )
    return inner


def _score(predicted: pd.DataFrame, held: Cases, task: Task) -> float:
    """Harrell's c or balanced accuracy of held-out patients with outcome and prediction; NaN where no two compare.

    Raises:
        PathomixError: A prediction is infinite, or nobody has one.
    """
    known = labelled(held, task)
    if not len(known.ids):
        return math.nan
    columns = ["risk"] if task == "survival" else [c for c in predicted.columns if c.startswith(_PROBABILITY)]
    frame = predicted.reindex(known.ids)[columns].astype(np.float64)
    present = known.ids[frame.notna().all(axis="columns")]
    if np.isinf(frame.to_numpy()).any() or not len(present):
        raise PathomixError(
            f"no finite predictions for {len(known.ids)} held-out patients",
            remedy="lower `learning_rate`, or raise the penalty",
        )
    values, part = frame.loc[present].to_numpy(), known.subset(present)
    if task == "survival":
        return harrell_c(*outcome(part), values[:, 0])
    classes = [column.removeprefix(_PROBABILITY) for column in columns]
    return balanced_accuracy(class_index(part, classes), values.argmax(axis=1))


def _fitted_parts(method: Method) -> tuple[str, ...]:
    return tuple(getattr(method, "fitted_parts", (TRAIN,)))


def _text(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True)
