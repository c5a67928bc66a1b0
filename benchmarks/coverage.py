"""How often our interval of a cell covers the truth: cohorts whose c-index is known, scored over folds and seeds.

The truth is the population's c-index of the fitted models, averaged over folds and seeds as the cell is. In the planted
cohorts risk and log-hazard are standard normal with a correlation of each model's own, times exponential and censored
at random, so that c is an integral; the embedded simulator's truth is its oracle's c in a cohort of 20,000 patients,
of which each repetition draws one of 360.

Usage: python -m benchmarks.coverage
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtr
from scipy.stats import beta

from pathomix.evaluate.predictions import Runs
from pathomix.evaluate.scores import Parameters, evaluate
from pathomix.simulate.parameters import Parameters as Simulation
from pathomix.simulate.patients import draw_patients
from pathomix.survival.concordance import harrell_c

REPETITIONS, WANTED = 200, 0.93
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Design:
    """One cohort and how it is scored.

    Attributes:
        patients: Size of the cohort.
        folds: Folds.
        seeds: Models per fold.
        share: Tested share of each repeated split; 0 = the folds partition the patients.
        correlation: Mean correlation of risk and log-hazard.
        spread: Standard deviation of that correlation over the fitted models.
        censoring: Rate of censoring per month; the median hazard is 1.
    """

    patients: int
    folds: int
    seeds: int = 1
    share: float = 0.0
    correlation: float = 0.5
    spread: float = 0.05
    censoring: float = 1.0


DESIGNS = {
    "one split of 400, 120 tested": Design(400, 1, share=0.3),
    "five folds of 360": Design(360, 5),
    "five folds of 100": Design(100, 5),
    "five folds of 100, three quarters censored": Design(100, 5, censoring=4.0),
    "five folds of 200, c near 0.75": Design(200, 5, correlation=0.95, spread=0.01),
    "five folds of 200, three seeds": Design(200, 5, seeds=3),
    "15 overlapping fifths of 200": Design(200, 15, share=0.2),
}


def true_c(correlation: float, censoring: float) -> float:
    """Population c-index of a risk, by Gauss-Hermite quadrature over the log-hazards of a pair.

    With hazards h, i is the one seen to fail first with probability h_i / (h_i + h_j + 2 censoring); given both
    log-hazards x, the risk of i is the larger with probability Phi(r (x_i - x_j) / sqrt(2 (1 - r^2))).
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    mine, other = np.meshgrid(nodes, nodes, indexing="ij")
    first = np.outer(weights, weights) * np.exp(mine) / (np.exp(mine) + np.exp(other) + 2 * censoring)
    larger = ndtr(correlation * (mine - other) / np.sqrt(2 * (1 - correlation**2)))
    return float((first * larger).sum() / first.sum())


def outcomes(patients: int, censoring: float, generator: np.random.Generator) -> tuple[Floats, Floats, Floats]:
    """Log-hazard, time and event of a cohort."""
    log_hazard = generator.normal(size=patients)
    death = generator.exponential(np.exp(-log_hazard))
    censored = generator.exponential(1 / censoring, size=patients)
    return log_hazard, np.minimum(death, censored), (death <= censored).astype(float)


def split_parts(design: Design, generator: np.random.Generator) -> list[NDArray[np.intp]]:
    """Tested patients of each fold."""
    if not design.share:
        return [np.sort(part) for part in np.array_split(generator.permutation(design.patients), design.folds)]
    size = round(design.share * design.patients)
    return [np.sort(generator.permutation(design.patients)[:size]) for _ in range(design.folds)]


def as_runs(
    time: Floats, event: Floats, parts: list[NDArray[np.intp]], risks: dict[str, list[list[Floats]]], trained: bool
) -> Runs:
    """What `read_runs` would give.

    Args:
        time: [n].
        event: [n].
        parts: Tested patients of each fold.
        risks: Row to the risks [n] of its models, by fold and seed.
        trained: Whether the training patients' predictions are there as well.
    """
    ids = np.array([f"P{i:05d}" for i in range(len(time))], dtype=object)
    frames, index, expected = [], [], []
    for fold, tested in enumerate(parts):
        place = {"cohort": "c", "scheme": "s", "fold": fold}
        outcome = {"task": "survival", "patient_id": ids, "time": time, "event": event, "class_label": None}
        cohort = pd.DataFrame(outcome)
        expected.append(cohort.iloc[tested].assign(**place))
        part = np.full(len(time), "train", dtype=object)
        part[tested] = "test"
        kept = np.arange(len(time)) if trained else tested
        for method, by_fold in risks.items():
            for seed, risk in enumerate(by_fold[fold]):
                frames.append(cohort.assign(part=part, risk=risk, run=len(index)).iloc[kept])
                index.append({"run": len(index), "method": method, **place, "seed": seed, "task": "survival"})
    return Runs(
        "study",
        pd.DataFrame(index).assign(problem=None),
        pd.concat(frames, ignore_index=True),
        pd.concat(expected, ignore_index=True),
    )


def model_risks(
    log_hazard: Floats, correlations: NDArray[np.float64], shared: float, generator: np.random.Generator
) -> list[list[Floats]]:
    """Risks of the models of one row, by fold and seed.

    Args:
        log_hazard: [n].
        correlations: [folds, seeds] with the log-hazard.
        shared: Share of the variance of the noise that all models have in common.
        generator: Draws the noise.
    """
    common = generator.normal(size=len(log_hazard))
    result = []
    for row in correlations:
        noise = [np.sqrt(shared) * common + np.sqrt(1 - shared) * generator.normal(size=len(log_hazard)) for _ in row]
        result.append([r * log_hazard + np.sqrt(1 - r**2) * e for r, e in zip(row, noise, strict=True)])
    return result


def planted(design: Design, repetition: int) -> tuple[Runs, float]:
    """One repetition: the runs of one row and the truth of its cell."""
    generator = np.random.default_rng([design.patients, design.folds, design.seeds, repetition])
    log_hazard, time, event = outcomes(design.patients, design.censoring, generator)
    size = (design.folds, design.seeds)
    correlations = np.clip(design.correlation + design.spread * generator.normal(size=size), -0.999, 0.999)
    risks = model_risks(log_hazard, correlations, 0.7, generator)
    truth = float(np.mean([true_c(r, design.censoring) for r in correlations.ravel()]))
    return as_runs(time, event, split_parts(design, generator), {"row": risks}, trained=False), truth


def simulator() -> Callable[[int], tuple[Runs, float]]:
    """Repetitions of the embedded simulator's oracle: 360 of 20,000 patients in five folds."""
    parameters = Simulation.from_dict({"seed": 0, "cohorts": {"a": {"patients": 20_000, "classes": ["A", "B"]}}})
    truth = draw_patients(parameters, "a").truth
    time, event, risk = (truth[name].to_numpy(dtype=float) for name in ("time", "event", "total"))
    c = harrell_c(time, event, risk)

    def repetition(number: int) -> tuple[Runs, float]:
        generator = np.random.default_rng([20_000, number])
        chosen = generator.permutation(len(time))[:360]
        parts = split_parts(Design(360, 5), generator)
        return as_runs(time[chosen], event[chosen], parts, {"oracle": [[risk[chosen]]] * 5}, trained=False), c

    return repetition


def covered(repetition: Callable[[int], tuple[Runs, float]], repetitions: int, resamples: int = 1000) -> list[float]:
    """Repetitions whose interval covers the truth, those that lie under it, and the mean width of the intervals."""
    inside, below, width = 0, 0, 0.0
    for number in range(repetitions):
        runs, truth = repetition(number)
        _, scores = evaluate(runs, Parameters(bootstrap=resamples, seed=number))
        row = scores[scores["metric"] == "c_index"].iloc[0]
        inside += bool(row["lower"] <= truth <= row["upper"])
        below += bool(row["upper"] < truth)
        width += float(row["upper"] - row["lower"]) / repetitions
    return [inside, below, width]


def main() -> None:
    """Every design and the simulator's oracle."""
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors\n")
    print(
        "| cohort | covered | share, its 95 % interval | interval below the truth | mean width |\n|---|---|---|---|---|"
    )
    cases: dict[str, Callable[[int], tuple[Runs, float]]] = {
        name: (lambda number, design=design: planted(design, number)) for name, design in DESIGNS.items()
    }
    cases["simulator's oracle, five folds of 360"] = simulator()
    least = 1.0
    for name, repetition in cases.items():
        inside, below, width = covered(repetition, REPETITIONS)
        low, high = beta.ppf([0.025, 0.975], [inside, inside + 1], [REPETITIONS - inside + 1, REPETITIONS - inside])
        share = inside / REPETITIONS
        least = min(least, share)
        text = f"{share:.3f} [{low:.3f}, {high:.3f}]"
        print(f"| {name} | {inside:.0f} of {REPETITIONS} | {text} | {below:.0f} | {width:.3f} |", flush=True)
    print(f"\nlowest coverage {least:.3f} (wanted: at least {WANTED})")


if __name__ == "__main__":
    main()
