"""The probes against the libraries of the released protocol, in the same run: fit of 800 patients on 256 dimensions.

One thread for both sides, as the rules' scripts run by default.

Usage: python -m benchmarks.probes
"""

from __future__ import annotations

import time
import tracemalloc
import warnings
from collections.abc import Callable

import numpy as np
import pandas as pd
from lifelines import CoxPHFitter
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from threadpoolctl import threadpool_limits

from pathomix.survival.probe_cox import probe_cox
from pathomix.training.probes import fit_logistic

PATIENTS, DIMENSIONS, PENALTY, CLASSES, REPEATS = 800, 256, 0.1, 3, 5


def best(run: Callable[[], np.ndarray], repeats: int) -> tuple[float, float, np.ndarray]:
    """Shortest seconds, peak memory (MB, numpy's and Python's, in a further run) and the coefficients."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        coefficients = run()
        seconds.append(time.perf_counter() - start)
    tracemalloc.start()
    run()
    peak = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    return min(seconds), peak, coefficients


def main() -> None:
    """Planted hazard and classes, a third of the patients censored, whole months (many ties) and exact times."""
    warnings.simplefilter("ignore")
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(PATIENTS, DIMENSIONS))
    hazard = vectors[:, :5].sum(axis=1) / 3
    exact = generator.exponential(30 / np.exp(hazard)) + 0.01
    event = (generator.random(PATIENTS) < 0.66).astype(int)
    label = np.argmax(vectors[:, :CLASSES] + generator.normal(size=(PATIENTS, CLASSES)), axis=1)
    print("| fit | library (s) | ours (s) | times faster | peak MB, library and ours | largest difference |")
    print("|---|---|---|---|---|---|")
    for name, months in (("Cox, exact times", exact), ("Cox, whole months", np.ceil(exact))):
        frame = pd.DataFrame(vectors).rename(columns=str).assign(time=months, event=event)

        def lifelines(frame: pd.DataFrame = frame) -> np.ndarray:
            return CoxPHFitter(penalizer=PENALTY).fit(frame, "time", "event").params_.to_numpy()

        theirs = best(lifelines, 2)
        for convergence in ("lifelines", "optimum"):

            def ours(months: np.ndarray = months, convergence: str = convergence) -> np.ndarray:
                return probe_cox(vectors, months, event, PENALTY, convergence=convergence).coefficients

            row(f"{name}, ends at: {convergence}", theirs, best(ours, REPEATS))

    def one_vs_rest() -> np.ndarray:
        model = LogisticRegression(solver="liblinear", max_iter=200, random_state=0)
        return np.vstack([part.coef_ for part in OneVsRestClassifier(model).fit(vectors, label).estimators_])

    row("logistic, 3 classes", best(one_vs_rest, 2), best(lambda: fit_logistic(vectors, label).coefficients, REPEATS))


def row(name: str, theirs: tuple[float, float, np.ndarray], ours: tuple[float, float, np.ndarray]) -> None:
    """Print one row of the table."""
    difference = np.abs(theirs[2] - ours[2]).max()
    print(
        f"| {name} | {theirs[0]:.3f} | {ours[0]:.4f} | {theirs[0] / ours[0]:.0f} "
        f"| {theirs[1]:.0f}, {ours[1]:.0f} | {difference:.1e} |",
        flush=True,
    )


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
