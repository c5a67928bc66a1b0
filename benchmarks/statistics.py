"""Statistics of survival against lifelines and scikit-survival, in the same run: bootstraps at n = 800, a ridge path.

One thread for both sides. The libraries' bootstraps are measured on a sample of the resamples and scaled up, and their
values there are compared with ours. A sample is the training part of the censoring distribution as well as the test
part: scikit-survival wants weights for everybody it is given.

Usage: python -m benchmarks.statistics
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Sequence

import numpy as np
from lifelines.utils import concordance_index
from sksurv.linear_model import CoxnetSurvivalAnalysis, CoxPHSurvivalAnalysis
from sksurv.metrics import brier_score, concordance_index_ipcw, cumulative_dynamic_auc
from sksurv.util import Surv
from threadpoolctl import threadpool_limits

from pathomix.evaluate.parts import TIME_QUANTILES
from pathomix.survival.brier import brier_terms
from pathomix.survival.censoring import Censoring
from pathomix.survival.dynamic_auc import DynamicAuc
from pathomix.survival.pairs import harrell_pairs, uno_pairs
from pathomix.survival.ridge import ridge_cox_path

PATIENTS, RESAMPLES, SHOWN, REPEATS = 800, 1_000, 20, 5
FOLDS, FEATURES, PENALTIES = 4, 1_590, (0.1, 1.0, 10.0, 100.0, 1_000.0, 10_000.0)
# Descending, as Coxnet wants them.
LARGE = (10_000.0, 1_000.0, 100.0)
Floats = np.ndarray


def outcomes(generator: np.random.Generator, log_hazard: Floats, whole_months: bool) -> tuple[Floats, Floats]:
    """Months and events: exponential times, about a third censored, the longest follow-up ending with an event."""
    happens = generator.exponential(20 * np.exp(-log_hazard))
    leaves = generator.exponential(40, size=len(log_hazard))
    months, event = np.minimum(happens, leaves) + 0.1, happens <= leaves
    event[months.argmax()] = True
    return (np.ceil(months) if whole_months else months), event


def best(call: Callable[[], Floats], repeats: int) -> tuple[float, Floats]:
    """Shortest wall time in seconds, and the result."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = call()
        seconds.append(time.perf_counter() - start)
    return min(seconds), result


def bootstraps(whole_months: bool) -> None:
    """Rows of the first table."""
    generator = np.random.default_rng(0)
    truth = generator.normal(size=PATIENTS)
    months, event = outcomes(generator, truth, whole_months)
    risk = truth + generator.normal(size=PATIENTS)
    counts = generator.multinomial(PATIENTS, np.full(PATIENTS, 1 / PATIENTS), size=RESAMPLES)
    weights = counts.astype(np.float32)
    train, censoring = Surv.from_arrays(event, months), Censoring.of(months, event)
    times = np.quantile(months[event], TIME_QUANTILES)
    survival = np.sort(generator.random((PATIENTS, len(times))), axis=1)[:, ::-1]
    drawn = [np.repeat(np.arange(PATIENTS), row) for row in counts[:SHOWN]]

    def library(score: Callable[[Floats], float]) -> Callable[[], Floats]:
        return lambda: np.array([score(rows) for rows in drawn])

    def harrell(rows: Floats) -> float:
        return float(concordance_index(months[rows], -risk[rows], event[rows]))

    def uno(rows: Floats) -> float:
        return float(concordance_index_ipcw(train, train[rows], risk[rows], tau=times[-1])[0])

    def auc(rows: Floats) -> float:
        return float(cumulative_dynamic_auc(train, train[rows], risk[rows], times)[1])

    def brier(rows: Floats) -> float:
        return float(brier_score(train, train[rows], survival[rows], times)[1].mean())

    cases: dict[str, tuple[Callable[[Floats], float], Callable[[], Floats]]] = {
        "Harrell's c, lifelines": (harrell, lambda: harrell_pairs(months, event, risk).index(weights)),
        "Uno's c, scikit-survival": (uno, lambda: uno_pairs(months, event, risk, censoring, times[-1]).index(weights)),
        "mean AUC(t), 4 times, scikit-survival": (
            auc,
            lambda: DynamicAuc.of(months, event, risk, censoring, times).mean(weights),
        ),
        "Brier, 4 times, scikit-survival": (
            brier,
            lambda: (
                weights.astype(float)
                @ brier_terms(months, event, survival, times, censoring).mean(axis=1)
                / weights.sum(axis=1)
            ),
        ),
    }
    for name, (theirs, ours) in cases.items():
        library_seconds, library_values = best(library(theirs), 2)
        own_seconds, own_values = best(ours, REPEATS)
        told = f"{name}, {'whole months' if whole_months else 'exact times'}"
        row(told, library_seconds * RESAMPLES / SHOWN, own_seconds, library_values - own_values[:SHOWN])


def ridge_path() -> None:
    """Rows of the second table.

    scikit-survival's Newton solver finds the same coefficients; one of its fits is measured and scaled up. Its
    coordinate descent is quicker where the penalty is large and approximate, and ends with an arithmetic error where it
    is small: it is shown on the penalties it can do.
    """
    generator = np.random.default_rng(1)
    design = generator.normal(size=(PATIENTS, FEATURES))
    months, event = outcomes(generator, design[:, :20].sum(axis=1) / 6, whole_months=False)
    fold = generator.permutation(PATIENTS) % FOLDS
    parts = []
    for held in range(FOLDS):
        rows = design[fold != held]
        parts.append(((rows - rows.mean(axis=0)) / rows.std(axis=0), months[fold != held], event[fold != held]))

    def ours(penalties: Sequence[float]) -> Floats:
        return np.stack([ridge_cox_path(x, t, e, penalties) for x, t, e in parts])

    def newton_once() -> Floats:
        x, t, e = parts[0]
        model = CoxPHSurvivalAnalysis(alpha=PENALTIES[-2], ties="breslow", tol=1e-9)
        return np.asarray(model.fit(x, Surv.from_arrays(e, t)).coef_)

    def coordinate_descent() -> Floats:
        # Its objective is the mean: alpha is the penalty over the patients. A ratio of 0 is refused.
        found = []
        for x, t, e in parts:
            model = CoxnetSurvivalAnalysis(l1_ratio=1e-10, alphas=[p / len(x) for p in LARGE], tol=1e-9, max_iter=10**6)
            found.append(model.fit(x, Surv.from_arrays(e, t)).coef_.T)
        return np.stack(found)

    own_seconds, own = best(lambda: ours(PENALTIES), 2)
    seconds, theirs = best(newton_once, 1)
    fits = len(PENALTIES) * FOLDS
    row(f"CoxPHSurvivalAnalysis, {fits} fits", seconds * fits, own_seconds, theirs - own[0, -2])
    own_seconds, own = best(lambda: ours(LARGE), 2)
    try:
        seconds, theirs = best(coordinate_descent, 1)
    except ArithmeticError as error:
        print(f"| CoxnetSurvivalAnalysis, penalties {LARGE} | {error} | | | |")
        return
    row(f"CoxnetSurvivalAnalysis, penalties {LARGE} alone", seconds, own_seconds, theirs - own)


def row(name: str, library: float, ours: float, difference: Floats) -> None:
    """Print one row of a table."""
    print(
        f"| {name} | {library:.2f} | {ours:.3f} | {library / ours:,.1f} | {np.abs(difference).max():.0e} |", flush=True
    )


def main() -> None:
    """Both tables."""
    warnings.simplefilter("ignore")
    print(f"one thread; load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors\n")
    print(f"{RESAMPLES:,} resamples of {PATIENTS} patients; the library's seconds from {SHOWN} of them\n")
    head = "| library (s) | ours (s) | times | largest difference |\n|---|---|---|---|---|"
    print(f"| statistic {head}")
    for whole_months in (False, True):
        bootstraps(whole_months)
    print(f"\nRidge Cox, {len(PENALTIES)} penalties x {FOLDS} folds, {FEATURES:,} features, {PATIENTS} patients\n")
    print(f"| library {head}")
    ridge_path()
    print(f"\nload average at the end {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
