from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pathomix.core.errors import PathomixError
from pathomix.survival.cox import RiskSets, Ties, log_partial_likelihood


def brute_force(time: np.ndarray, event: np.ndarray, eta: np.ndarray, ties: Ties) -> float:
    """The definition, one event at a time."""
    total = 0.0
    for moment in np.unique(time[event == 1]):
        dead = np.flatnonzero((time == moment) & (event == 1))
        at_risk = np.exp(eta[time >= moment]).sum()
        tied = np.exp(eta[dead]).sum()
        for rank, patient in enumerate(dead):
            thinned = rank / len(dead) * tied if ties == "efron" else 0.0
            total += eta[patient] - np.log(at_risk - thinned)
    return total


rows = st.lists(st.tuples(st.integers(1, 6), st.integers(0, 1), st.floats(-4, 4)), min_size=1, max_size=25)


@pytest.mark.parametrize("ties", ["breslow", "efron"])
@settings(max_examples=40, deadline=None)
@given(rows=rows)
def test_loglik_and_gradient_equal_the_definition(ties: Ties, rows: list[tuple[int, int, float]]) -> None:
    time, event, eta = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    risk_sets = RiskSets(time, event, ties)
    assert risk_sets.loglik(eta) == pytest.approx(brute_force(time, event, eta, ties), abs=1e-9)
    step = 1e-5
    for k in range(len(eta)):
        shift = step * (np.arange(len(eta)) == k)
        slope = brute_force(time, event, eta + shift, ties) - brute_force(time, event, eta - shift, ties)
        assert risk_sets.gradient(eta)[k] == pytest.approx(slope / (2 * step), abs=1e-5)


@pytest.mark.parametrize("ties", ["breslow", "efron"])
def test_newton_terms_are_the_derivatives(ties: Ties) -> None:
    generator = np.random.default_rng(3)
    design, coefficients = generator.normal(size=(40, 4)), generator.normal(size=4)
    time, event = generator.integers(1, 8, 40), generator.integers(0, 2, 40)
    risk_sets = RiskSets(time, event, ties)
    gradient, information = risk_sets.newton_terms(design, design @ coefficients)
    assert gradient == pytest.approx(design.T @ risk_sets.gradient(design @ coefficients), abs=1e-9)
    for k in range(4):
        shift = 1e-6 * np.eye(4)[k]
        slopes = [risk_sets.newton_terms(design, design @ (coefficients + s))[0] for s in (shift, -shift)]
        assert information[k] == pytest.approx(-(slopes[0] - slopes[1]) / 2e-6, abs=1e-5)


def test_finite_where_plain_exponentials_overflow() -> None:
    time, event = np.arange(1.0, 6.0), np.ones(5)
    eta = 1000.0 * np.array([2.0, -1.0, 0.5, 3.0, -2.0])
    # The largest log hazard of each risk set dominates: 3000, 3000, 3000, 3000, -2000.
    assert log_partial_likelihood(time, event, eta) == pytest.approx(eta.sum() - 4 * 3000 + 2000)
    assert np.isfinite(RiskSets(time, event).gradient(eta)).all()


def test_adding_a_constant_changes_nothing() -> None:
    time, event, eta = [3, 1, 2, 2], [1, 1, 0, 1], np.array([0.1, 0.5, -0.4, 0.2])
    assert log_partial_likelihood(time, event, eta + 7) == pytest.approx(log_partial_likelihood(time, event, eta))


def test_no_event_is_zero_with_zero_gradient() -> None:
    risk_sets = RiskSets([1, 2, 3], [0, 0, 0], "efron")
    assert risk_sets.loglik([1, 2, 3]) == 0.0
    assert (risk_sets.gradient([1, 2, 3]) == 0.0).all()


def test_bad_input_is_refused() -> None:
    with pytest.raises(PathomixError, match="unknown handling of ties"):
        RiskSets([1, 2], [1, 0], "exact")  # type: ignore[arg-type]
    with pytest.raises(PathomixError, match="1 log hazards for 2 patients"):
        RiskSets([1, 2], [1, 0]).loglik([0.0])
