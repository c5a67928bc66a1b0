from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st
from lifelines.utils import concordance_index

from pathomix.simulate.oracle import ORACLES, concordance

rows = st.lists(st.tuples(st.integers(1, 9), st.booleans(), st.integers(-3, 3)), min_size=3, max_size=30)


@given(rows)
@settings(max_examples=200, deadline=None)
def test_concordance_equals_lifelines_with_ties(cases: list[tuple[int, bool, int]]) -> None:
    time, event, risk = (np.array(column) for column in zip(*cases, strict=True))
    got = concordance(time.astype(float), event.astype(bool), risk.astype(float), np.ones((1, len(time))))[0]
    try:
        expected = concordance_index(time, -risk, event)
    except ZeroDivisionError:
        assert np.isnan(got)
    else:
        assert abs(got - expected) < 1e-12


def test_weights_are_repeated_patients() -> None:
    random = np.random.default_rng(0)
    time, event, risk = random.exponential(size=40), random.random(40) < 0.7, random.standard_normal(40)
    counts = random.multinomial(40, np.full(40, 1 / 40), size=5)
    got = concordance(time, event, risk, counts.astype(float))
    for count, c in zip(counts, got, strict=True):
        chosen = np.repeat(np.arange(40), count)
        # Copies of one patient tie in time and are both events or both censored: not comparable here.
        t, e, r = time[chosen], event[chosen], risk[chosen]
        pairs = [(i, j) for i in range(40) for j in range(40) if e[i] and t[i] < t[j]]
        assert abs(c - np.mean([r[i] > r[j] for i, j in pairs])) < 1e-12


def test_report_beside_the_tables(simulation: Path) -> None:
    report = json.loads((simulation / "sim_a" / "oracle.json").read_text())
    truth = pd.read_parquet(simulation / "sim_a" / "truth.parquet")
    assert set(report["concordance"]) == set(ORACLES)
    for name, entry in report["concordance"].items():
        expected = concordance_index(truth["time"], -truth[name], truth["event"])
        assert abs(entry["c"] - expected) < 1e-6
        assert entry["low"] < entry["c"] < entry["high"]
        assert abs((entry["high"] - entry["low"]) / (2 * 1.96 * entry["standard_error"]) - 1) < 0.15
    assert report["patients"] == len(truth) == sum(report["mechanisms"].values())
    assert report["parameters"]["effects"]["image"] == 1.2
