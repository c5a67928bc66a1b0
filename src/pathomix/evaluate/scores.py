"""From predictions to the two score tables: every fold, and every cell with its uncertainties kept apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtrit

from pathomix.core.errors import PathomixError
from pathomix.core.parameters import choice
from pathomix.evaluate.bootstrap import LEVEL, fold_mean, patient_counts, percentile_interval
from pathomix.evaluate.common import COMMON, OWN, PATIENTS, common_patients
from pathomix.evaluate.differences import Cell, with_differences
from pathomix.evaluate.metrics import Metric, UndefinedMetric, metrics_of
from pathomix.evaluate.parts import Block, TestPart, blocks
from pathomix.evaluate.predictions import Runs, named
from pathomix.evaluate.units import PATIENT, UNITS


@dataclass(frozen=True)
class Parameters:
    """What the evaluation may vary.

    Attributes:
        bootstrap: Resamples of the patient bootstrap, at least 100 (a 2.5 % percentile of fewer is not one).
        seed: Seed of the resamples.
        unit: What one observation is; see `units.average_units`. Resampling is by patient whatever it is.
        reference: Row of the study that every other row is compared with; empty = none.
        patients: Test patients of a row: ``own``, all it predicts, or ``common``, those that every row of the study
            predicts.
    """

    bootstrap: int = 1000
    seed: int = 0
    unit: str = PATIENT
    reference: str = ""
    patients: str = OWN

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Parameters:
        """Check the `evaluation` section of the configuration.

        Raises:
            PathomixError: An unknown key, too few resamples, a negative seed or an unknown unit.
        """
        unknown = sorted(set(given) - set(cls.__dataclass_fields__))
        if unknown:
            raise PathomixError(
                "evaluation: unknown parameters",
                offending=unknown,
                remedy=f"use {', '.join(cls.__dataclass_fields__)}",
            )
        result = cls(**given)
        if not isinstance(result.bootstrap, int) or result.bootstrap < 100:
            raise PathomixError(
                f"evaluation.bootstrap is {result.bootstrap!r}", remedy="set it to a whole number of at least 100"
            )
        if not isinstance(result.seed, int) or result.seed < 0:
            raise PathomixError(f"evaluation.seed is {result.seed!r}", remedy="set it to a whole number of at least 0")
        choice(result.unit, UNITS, "evaluation.unit")
        choice(result.patients, PATIENTS, "studies.<study>.patients")
        return result


@dataclass(frozen=True)
class _Run:
    """One run and task: which patients its scores stand on.

    Attributes:
        seed: Seed.
        fold: Fold.
        tested: Test patients with a known outcome.
        missing: Those without a prediction.
        scored: Those with one.
        trained: Training patients with a known outcome and a prediction.
        events: Events among the tested; None for a task without events.
    """

    seed: int
    fold: int
    tested: frozenset[str]
    missing: frozenset[str]
    scored: frozenset[str]
    trained: frozenset[str]
    events: int | None


@dataclass
class _Fold:
    """One run and metric: its value, and its value under every resample."""

    run: _Run
    value: float = float("nan")
    draws: NDArray[np.float64] | None = None
    problem: str | None = None

    @property
    def reason(self) -> str | None:
        """Why there is no value, or which patients it does not stand on."""
        parts = [self.problem] if self.problem else []
        if self.run.missing and self.run.scored:
            parts.append(_without(self.run.missing))
        return "; ".join(parts) or None


def _without(missing: frozenset[str] | set[str]) -> str:
    noun = "patient" if len(missing) == 1 else "patients"
    return f"{len(missing)} {noun} without prediction: {named(missing)}"


def evaluate(runs: Runs, parameters: Parameters) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Score every run and every cell.

    Returns:
        FOLD_SCORES and SCORES rows (see `pathomix.evaluate.schemas` for the meaning of each column).
    """
    fold_rows: list[dict[str, Any]] = []
    cell_rows: list[dict[str, Any]] = []
    for block in blocks(common_patients(runs) if parameters.patients == COMMON else runs):
        metrics = metrics_of(block.task)
        cells: dict[str, dict[str, Cell]] = {metric.name: {} for metric in metrics}
        for method, listed in _scored(block, metrics, parameters).items():
            for name, folds in listed.items():
                place = {"task": block.task, "metric": name, "cohort": block.cohort, "scheme": block.scheme}
                fold_rows += [{**place, "method": method, **_fold_row(fold)} for fold in folds]
                cell = _cell(folds, block, parameters)
                cell.row.update(place, method=method)
                cells[name][method] = cell
        for compared in cells.values():
            cell_rows += with_differences(compared, parameters.reference, block.overlapping)
    return pd.DataFrame(fold_rows), pd.DataFrame(cell_rows)


def _scored(block: Block, metrics: Sequence[Metric], parameters: Parameters) -> dict[str, dict[str, list[_Fold]]]:
    """Method and metric to the scores of its runs."""
    where = (block.cohort, block.scheme, block.task)
    counts = patient_counts(max(len(block.patients), 1), parameters.bootstrap, parameters.seed, *where)
    tested = {int(fold): block.tested(int(fold)) for fold in block.runs["fold"].unique()}
    # Most runs of a block share their sets of patients: one object each makes comparing rows cheap.
    same: dict[frozenset[str], frozenset[str]] = {}
    result: dict[str, dict[str, list[_Fold]]] = {}
    row: Any
    for row in block.runs.sort_values("method", kind="stable").itertuples(index=False):
        part = block.part(row.run, row.fold) if row.problem is None else None
        all_tested = tested[row.fold]
        missing = all_tested if part is None else part.missing
        scored, trained = all_tested - missing if missing else all_tested, block.trained(row.run)
        scored, trained = same.setdefault(scored, scored), same.setdefault(trained, trained)
        run = _Run(row.seed, row.fold, all_tested, missing, scored, trained, block.events_in(row.fold))
        drawn = None if part is None else counts[:, part.position]
        for metric in metrics:
            fold = _score(run, part, metric, drawn, row.problem)
            result.setdefault(str(row.method), {}).setdefault(metric.name, []).append(fold)
    return result


def _score(
    run: _Run, part: TestPart | None, metric: Metric, drawn: NDArray[np.float32] | None, problem: str | None
) -> _Fold:
    """Score one run for one metric; `drawn` [resamples, rows of the part] is how often each row is drawn."""
    if part is None or drawn is None:
        return _Fold(run, problem=problem or "no test patient with a known outcome")
    if not run.scored:
        return _Fold(run, problem="no test patient has a prediction")
    try:
        statistic = metric.prepare(part)
    except UndefinedMetric as error:
        return _Fold(run, problem=str(error))
    return _Fold(run, statistic.value, statistic.resample(drawn))


def _fold_row(fold: _Fold) -> dict[str, Any]:
    return {
        "seed": fold.run.seed,
        "fold": fold.run.fold,
        "value": fold.value,
        "n_patients": len(fold.run.tested),
        "n_events": fold.run.events,
        "n_missing": len(fold.run.missing),
        "reason": fold.reason,
    }


def _cell(folds: list[_Fold], block: Block, parameters: Parameters) -> Cell:
    """One cell: means, spreads and intervals over its folds and seeds."""
    numbers, seeds = (sorted({getattr(f.run, name) for f in folds}) for name in ("fold", "seed"))
    grid = np.full((len(numbers), len(seeds)), np.nan)
    for f in folds:
        grid[numbers.index(f.run.fold), seeds.index(f.run.seed)] = f.value
    valued = [[f for f in folds if f.run.fold == number and np.isfinite(f.value)] for number in numbers]
    by_fold = {listed[0].run.fold: float(np.mean([f.value for f in listed])) for listed in valued if listed}
    complete = grid[np.isfinite(grid).all(axis=1)]
    sd_seeds = float(complete.mean(axis=0).std(ddof=1)) if len(seeds) > 1 and len(complete) else float("nan")
    k, values = len(by_fold), np.array(list(by_fold.values()))
    sd = float(values.std(ddof=1)) if k > 1 else float("nan")
    draws = [[f.draws for f in listed if f.draws is not None] for listed in valued if listed]
    resampled = fold_mean(draws) if k else None
    lower, upper = (float("nan"), float("nan")) if resampled is None else percentile_interval(resampled)
    row = {
        "mean": float(values.mean()) if k else float("nan"),
        "sd_folds": sd,
        "half_width": float(stdtrit(k - 1, (1 + LEVEL) / 2) * sd / np.sqrt(k)) if k > 1 else float("nan"),
        "sd_seeds": sd_seeds,
        "lower": lower,
        "upper": upper,
        "n_patients": len(block.patients),
        "n_events": block.events,
        "n_missing": len(frozenset().union(*(f.run.missing for f in folds))),
        "folds_used": k,
        "folds_total": len(numbers),
        "seeds": len(seeds),
        "resamples": parameters.bootstrap,
        "unit": parameters.unit,
        "patients": parameters.patients,
        "reason": _cell_reason(folds),
    }
    scored, trained = (
        {fold: _united([getattr(f.run, name) for f in folds if f.run.fold == fold]) for fold in by_fold}
        for name in ("scored", "trained")
    )
    seed_variance = sd_seeds**2 / len(seeds) if np.isfinite(sd_seeds) else 0.0
    return Cell(row, by_fold, resampled, seed_variance, scored, trained)


def _united(sets: list[frozenset[str]]) -> frozenset[str]:
    """Their union, which is the first one itself where all are the same."""
    return sets[0] if all(one is sets[0] for one in sets) else sets[0].union(*sets)


def _cell_reason(folds: list[_Fold]) -> str | None:
    """One clause per distinct problem with the folds it befell, then the patients without prediction elsewhere."""
    befell: dict[str, list[_Fold]] = {}
    for fold in folds:
        if fold.problem:
            befell.setdefault(fold.problem, []).append(fold)
    parts = []
    for problem, where in befell.items():
        if len(where) == len(folds):
            parts.append(problem if len(folds) == 1 else f"every fold: {problem}")
        else:
            places = _places(where, folds)
            parts.append(f"{'fold' if len(places) == 1 else 'folds'} {', '.join(places)}: {problem}")
    lacking = frozenset().union(*(f.run.missing for f in folds if not f.problem))
    if lacking:
        parts.append(_without(lacking))
    return "; ".join(parts) or None


def _places(where: list[_Fold], folds: list[_Fold]) -> list[str]:
    """Fold numbers, with the seeds named only where not every seed of the fold is concerned."""
    result = []
    for number in sorted({f.run.fold for f in where}):
        seeds = sorted(f.run.seed for f in where if f.run.fold == number)
        every = sorted(f.run.seed for f in folds if f.run.fold == number)
        result.append(f"{number}" if seeds == every else f"{number} (seed {', '.join(map(str, seeds))})")
    return result
