"""The resolvable difference against closed forms, and against planted differences that the tables' tests look for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.optimize import brentq

from benchmarks.coverage import Design, as_runs, model_risks, outcomes, split_parts, true_c
from pathomix.evaluate import scores as scores_module
from pathomix.evaluate.metrics import metrics_of
from pathomix.evaluate.predictions import Runs
from pathomix.evaluate.resolvable import NO_PAIR, Pair, by_bootstrap, by_resampled_t, resolvable_difference
from pathomix.evaluate.scores import Parameters, evaluate

POWERFUL = stats.norm.ppf(0.975) + stats.norm.ppf(0.8)  # 2.80


def pair(scale=0.02, folds=(0.1, 0.0, 0.2, -0.1), ratio=0.25, seed_variance=0.0, seed=0) -> Pair:
    draws = scale * np.random.default_rng(seed).normal(size=4000)
    return Pair(draws, np.array(folds, dtype=float), ratio, seed_variance)


def test_it_is_2_8_standard_errors_and_more_with_seeds():
    one = pair()
    error = one.draws.std(ddof=1)
    assert by_bootstrap(one) == pytest.approx(POWERFUL * error)
    noisy = by_bootstrap(replace(one, seed_variance=0.02**2))
    # The test looks at the bootstrap's error alone, the difference scatters with both.
    assert noisy == pytest.approx(stats.norm.ppf(0.975) * error + stats.norm.ppf(0.8) * np.hypot(error, 0.02))


def test_the_resampled_t_test_has_80_percent_power_there():
    folds, ratio, sigma = 6, 0.3, 0.05
    generator = np.random.default_rng(1)
    smallest = np.median([by_resampled_t(pair(folds=sigma * generator.normal(size=folds), ratio=ratio))
                          for _ in range(2000)])  # fmt: skip
    # The test's own model: the mean scatters with (1 / k + ratio) sigma^2, of which 1 / k within the cohort.
    cohort = np.sqrt(ratio) * sigma * generator.normal(size=(4000, 1))
    d = smallest + cohort + sigma * generator.normal(size=(4000, folds))
    t = d.mean(axis=1) / np.sqrt((1 / folds + ratio) * d.var(axis=1, ddof=1))
    assert (np.abs(t) > stats.t.ppf(0.975, folds - 1)).mean() == pytest.approx(0.8, abs=0.04)


def test_it_is_the_median_over_pairs_and_equal_rows_are_no_pair():
    pairs = [pair(0.01), pair(0.02), pair(0.5), pair(0.0)]
    assert resolvable_difference(pairs, overlapping=False).value == pytest.approx(by_bootstrap(pairs[1]))
    for nothing in ([], [pair(0.0)], [Pair(np.full(100, np.nan), np.array([0.1]), 0.2, 0.0)]):
        found = resolvable_difference(nothing, overlapping=False)
        assert np.isnan(found.value) and found.reason == NO_PAIR


def test_where_parts_overlap_it_is_that_of_the_resampled_test_or_says_why_not():
    assert resolvable_difference([pair()], overlapping=True).value == by_resampled_t(pair())
    assert resolvable_difference([pair()], overlapping=True).reason is None
    for other, reason in (
        (pair(folds=(0.1, 0.2)), "by the paired bootstrap: 2 folds are too few for a test over folds"),
        (pair(ratio=np.nan), "by the paired bootstrap: the size of the training part is not known"),
    ):
        found = resolvable_difference([other], overlapping=True)
        assert found.value == by_bootstrap(other) and found.reason == reason


def accuracy_runs(right: dict[str, np.ndarray], label: np.ndarray) -> Runs:
    """One fold; each row names the true class of the patients it is `right` about."""
    place = {"cohort": "c", "scheme": "s", "fold": 0, "task": "subtype"}
    base = pd.DataFrame({"patient_id": [f"P{i:03d}" for i in range(len(label))], "time": np.nan, "event": np.nan})
    base = base.assign(task="subtype", class_label=np.array(["A", "B"], dtype=object)[label])
    frames, index = [], []
    for run, (method, correct) in enumerate(right.items()):
        says_b = np.where(correct, label, 1 - label)
        scores = {"probability_A": 1.0 - says_b, "probability_B": says_b.astype(float)}
        frames.append(base.assign(part="test", risk=np.nan, run=run, **scores))
        index.append({"run": run, "method": method, **place, "seed": 0, "problem": None})
    predictions = pd.concat(frames, ignore_index=True)
    return Runs("study", pd.DataFrame(index), predictions, base.assign(**place))


def test_for_balanced_accuracy_it_is_the_closed_form():
    generator = np.random.default_rng(3)
    n = 300
    label = (np.arange(n) % 3 == 0).astype(int)
    easy = generator.random(n) < 0.6
    right = {name: easy | (generator.random(n) < 0.4) for name in ("a", "b")}
    _, table = evaluate(accuracy_runs(right, label), Parameters(bootstrap=4000, reference="b"))
    rows = table[table["metric"] == "balanced_accuracy"]
    d = right["a"].astype(float) - right["b"].astype(float)
    error = np.sqrt(sum(d[label == c].var() / (label == c).sum() for c in (0, 1))) / 2
    assert (rows["resolvable"] == rows["resolvable"].iloc[0]).all() and rows["resolvable_reason"].isna().all()
    assert rows["resolvable"].iloc[0] == pytest.approx(POWERFUL * error, rel=0.05)


CENSORING = 1.0


def two_rows(design: Design, correlations: tuple[float, float], seed: int, trained: bool) -> Runs:
    """Two rows whose noise is shared by half; the c-index of each is known from its correlation with the hazard."""
    generator = np.random.default_rng([9, seed])
    log_hazard, time, event = outcomes(design.patients, CENSORING, generator)
    parts = split_parts(design, generator)
    noise = generator.normal(size=len(log_hazard))
    risks = {}
    for name, r in zip("ab", correlations, strict=True):
        ((own,),) = model_risks(log_hazard, np.zeros((1, 1)), 0.0, generator)
        risk = r * log_hazard + np.sqrt(1 - r**2) * (np.sqrt(0.5) * noise + np.sqrt(0.5) * own)
        risks[name] = [[risk]] * len(parts)
    return as_runs(time, event, parts, risks, trained)


def reaching(c: float) -> float:
    """Correlation of a risk whose population c-index is `c`."""
    return float(brentq(lambda r: true_c(r, CENSORING) - c, 0.0, 0.999))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("design", "p"),
    [(Design(200, 5), "bootstrap_p"), (Design(200, 8, share=0.25), "resampled_p")],
    ids=["five folds", "overlapping"],
)
def test_a_planted_difference_of_that_size_is_found_four_times_of_five(design, p, monkeypatch):
    monkeypatch.setattr(scores_module, "metrics_of", lambda task: metrics_of(task)[:1])
    repetitions = 200

    def evaluated(difference):
        correlations = reaching(0.62 + difference / 2), reaching(0.62 - difference / 2)
        for seed in range(repetitions):
            runs = two_rows(design, correlations, seed, trained=p == "resampled_p")
            _, table = evaluate(runs, Parameters(bootstrap=400, seed=seed, reference="b"))
            yield table[table["method"] == "a"].iloc[0]

    equal = list(evaluated(0.0))
    smallest = float(np.median([row["resolvable"] for row in equal]))
    found = [np.mean([row[p] < 0.05 for row in rows]) for rows in (equal, evaluated(smallest / 2), evaluated(smallest))]
    print(f"resolvable {smallest:.4f}: found {found} of none, half and all of it")
    # 5 %, 29 % and 80 % by the closed forms; rows that differ by so much are less alike than the equal ones the value
    # was taken from, so that somewhat fewer are found.
    assert found[0] <= 0.1 and found[1] == pytest.approx(0.29, abs=0.12) and 0.66 <= found[2] <= 0.88
