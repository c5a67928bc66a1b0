from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pathomix.core.errors import PathomixError
from pathomix.losses.risk_sets import log_risk_sums, risk_sums


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 25), st.integers(1, 8), st.integers(0, 1000))
def test_sums_over_risk_sets_by_brute_force(patients: int, distinct: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    time = generator.integers(0, distinct, patients).astype(float)
    score = generator.normal(size=patients)
    inside = time[None, :] >= time[:, None]
    sums = (inside * np.exp(score)).sum(axis=1)
    ours = torch.from_numpy(score), torch.from_numpy(time)
    assert log_risk_sums(*ours).numpy() == pytest.approx(np.log(sums), rel=1e-12, abs=1e-12)
    assert risk_sums(ours[0].exp(), ours[1]).numpy() == pytest.approx(sums, rel=1e-12)


def test_scores_of_any_size() -> None:
    score = torch.tensor([5000.0, -5000.0, 4000.0], dtype=torch.float64)
    time = torch.tensor([1.0, 3.0, 2.0], dtype=torch.float64)
    assert log_risk_sums(score, time).tolist() == pytest.approx([5000.0, -5000.0, 4000.0])
    assert risk_sums(score.exp(), time).tolist() == [np.inf, 0.0, np.inf]


def test_lengths_that_differ() -> None:
    with pytest.raises(PathomixError, match="one per patient"):
        log_risk_sums(torch.zeros(3), torch.zeros(2))
