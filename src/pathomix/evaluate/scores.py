"""From predictions to the two score tables: every fold, and every cell with its uncertainties kept apart."""

from __future__ import annotations

from collections.abc import Mapping
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
from pathomix.evaluate.metrics import Metric, UndefinedMetric, metrics_of
from pathomix.evaluate.parts import Block, TestPart, blocks
from pathomix.evaluate.predictions import Runs, named
from pathomix.evaluate.resampled import resampled_tests
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


@dataclass
class _Cell:
    """One cell: its row of the table, its value in each fold it stands on, and its mean under every resample.

    Attributes:
        row: Row of SCORES.
        folds: Fold to its value, the mean over seeds.
        draws: [resamples].
        scored: Fold to the test patients that have a prediction.
        trained: Fold to the training patients that have one.
    """

    row: dict[str, Any]
    folds: dict[int, float]
    draws: NDArray[np.float64] | None
    scored: dict[int, frozenset[str]]
    trained: dict[int, frozenset[str]]


@dataclass
class _Fold:
    """One run, task and metric: what went into the score, and its value under every resample."""

    seed: int
    fold: int
    value: float
    draws: NDArray[np.float64] | None
    tested: frozenset[str]
    missing: frozenset[str]
    trained: frozenset[str]
    events: int | None
    problem: str | None

    @property
    def reason(self) -> str | None:
        """Why there is no value, or which patients it does not stand on."""
        parts = [self.problem] if self.problem else []
        if self.missing and len(self.missing) < len(self.tested):
            parts.append(_without(self.missing))
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
        where = (block.cohort, block.scheme, block.task)
        cells: dict[str, dict[str, _Cell]] = {metric.name: {} for metric in metrics_of(block.task)}
        counts = patient_counts(max(len(block.patients), 1), parameters.bootstrap, parameters.seed, *where)
        for method, listed in block.runs.groupby("method"):
            scored: dict[str, list[_Fold]] = {metric.name: [] for metric in metrics_of(block.task)}
            for row in listed.itertuples(index=False):
                part = block.part(row.run, row.fold) if row.problem is None else None
                for metric in metrics_of(block.task):
                    scored[metric.name].append(_score(row, block, part, metric, counts))
            for name, folds in scored.items():
                place = {"task": block.task, "metric": name, "cohort": block.cohort, "scheme": block.scheme}
                fold_rows += [{**place, "method": method, **_fold_row(fold)} for fold in folds]
                cell = _cell(folds, block, parameters)
                cell.row.update(place, method=method)
                cells[name][str(method)] = cell
        for compared in cells.values():
            cell_rows += _with_differences(compared, parameters.reference, block.overlapping)
    return pd.DataFrame(fold_rows), pd.DataFrame(cell_rows)


def _score(row: Any, block: Block, part: TestPart | None, metric: Metric, counts: NDArray[np.float32]) -> _Fold:
    """Score one run for one metric."""
    tested = block.tested(row.fold)
    missing = tested if part is None else part.missing
    trained, events = block.trained(row.run), block.events_in(row.fold)
    result = _Fold(row.seed, row.fold, float("nan"), None, tested, missing, trained, events, row.problem)
    if part is None:
        result.problem = result.problem or "no test patient with a known outcome"
    elif len(missing) == len(tested):
        result.problem = "no test patient has a prediction"
    else:
        try:
            statistic = metric.prepare(part)
        except UndefinedMetric as error:
            result.problem = str(error)
        else:
            result.value = statistic.value
            result.draws = statistic.resample(counts[:, part.position])
    return result


def _fold_row(fold: _Fold) -> dict[str, Any]:
    return {
        "seed": fold.seed,
        "fold": fold.fold,
        "value": fold.value,
        "n_patients": len(fold.tested),
        "n_events": fold.events,
        "n_missing": len(fold.missing),
        "reason": fold.reason,
    }


def _with_differences(cells: Mapping[str, _Cell], reference: str, overlapping: bool) -> list[dict[str, Any]]:
    """Rows of one block and metric, each with its paired difference to the reference row."""
    base = cells.get(reference)
    for method, cell in cells.items():
        cell.row |= {"reference": reference or None, **_NOT_COMPARED}
        if base is None or method == reference:
            continue
        if tuple(cell.folds) != tuple(base.folds):
            cell.row["test_reason"] = "not on the folds of the reference"
        elif cell.draws is None or base.draws is None:
            cell.row["test_reason"] = "no value to compare"
        else:
            lower, upper = percentile_interval(cell.draws - base.draws)
            cell.row["difference"] = cell.row["mean"] - base.row["mean"]
            cell.row |= {"difference_lower": lower, "difference_upper": upper, **_tests(cell, base, overlapping)}
    return [cell.row for cell in cells.values()]


_NUMBERS = ("difference", "difference_lower", "difference_upper", "resampled_t", "resampled_p", "wilcoxon_p")
_NOT_COMPARED = {**dict.fromkeys((*_NUMBERS, "test_ratio"), float("nan")), "test_reason": None}


def _tests(cell: _Cell, base: _Cell, overlapping: bool) -> dict[str, Any]:
    """Tests over folds of the difference to the reference row, on the patients that both rows predict.

    Counting patients that only one row predicts would make the training part look larger, for the same test part, where
    one row lacks a modality; the share of tested patients would come out too small and the test too lenient.
    """
    differences = [value - base.folds[fold] for fold, value in cell.folds.items()]
    sizes = [
        np.mean([len(mine[fold] & theirs[fold]) for fold in cell.folds])
        for mine, theirs in ((cell.scored, base.scored), (cell.trained, base.trained))
    ]
    found = resampled_tests(differences, float(sizes[0]), float(sizes[1]), overlapping)
    return {
        "resampled_t": found.t,
        "resampled_p": found.t_p,
        "wilcoxon_p": found.wilcoxon_p,
        "test_ratio": found.ratio,
        "test_reason": found.reason,
    }


def _cell(folds: list[_Fold], block: Block, parameters: Parameters) -> _Cell:
    """One cell: means, spreads and intervals over its folds and seeds."""
    values = pd.DataFrame([(f.fold, f.seed, f.value) for f in folds], columns=["fold", "seed", "value"])
    grid = values.pivot(index="fold", columns="seed", values="value")
    by_fold = grid.mean(axis=1).dropna()
    by_seed = grid.dropna(axis=0).mean(axis=0) if grid.shape[1] > 1 else pd.Series(dtype=float)
    k = len(by_fold)
    sd = float(by_fold.std(ddof=1)) if k > 1 else float("nan")
    draws = [[f.draws for f in folds if f.fold == fold and f.draws is not None] for fold in by_fold.index]
    resampled = fold_mean(draws) if k else None
    lower, upper = (float("nan"), float("nan")) if resampled is None else percentile_interval(resampled)
    lacking = frozenset().union(*(f.missing for f in folds))
    row = {
        "mean": float(by_fold.mean()) if k else float("nan"),
        "sd_folds": sd,
        "half_width": float(stdtrit(k - 1, (1 + LEVEL) / 2) * sd / np.sqrt(k)) if k > 1 else float("nan"),
        "sd_seeds": float(by_seed.std(ddof=1)) if len(by_seed) > 1 else float("nan"),
        "lower": lower,
        "upper": upper,
        "n_patients": len(block.patients),
        "n_events": block.events,
        "n_missing": len(lacking),
        "folds_used": k,
        "folds_total": len(grid),
        "seeds": grid.shape[1],
        "resamples": parameters.bootstrap,
        "unit": parameters.unit,
        "patients": parameters.patients,
        "reason": _cell_reason(folds),
    }
    used = {int(str(fold)): float(value) for fold, value in by_fold.items()}
    none: frozenset[str] = frozenset()
    scored = {fold: none.union(*(f.tested - f.missing for f in folds if f.fold == fold)) for fold in used}
    trained = {fold: none.union(*(f.trained for f in folds if f.fold == fold)) for fold in used}
    return _Cell(row, used, resampled, scored, trained)


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
    lacking = frozenset().union(*(f.missing for f in folds if not f.problem))
    if lacking:
        parts.append(_without(lacking))
    return "; ".join(parts) or None


def _places(where: list[_Fold], folds: list[_Fold]) -> list[str]:
    """Fold numbers, with the seeds named only where not every seed of the fold is concerned."""
    result = []
    for number in sorted({f.fold for f in where}):
        seeds = sorted(f.seed for f in where if f.fold == number)
        every = sorted(f.seed for f in folds if f.fold == number)
        result.append(f"{number}" if seeds == every else f"{number} (seed {', '.join(map(str, seeds))})")
    return result
