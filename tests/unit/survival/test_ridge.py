from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter
from scipy.optimize import minimize

from pathomix.core.errors import PathomixError
from pathomix.survival.cox import RiskSets, Ties
from pathomix.survival.ridge import ridge_cox, ridge_cox_path


def sample(patients: int, features: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    design = generator.normal(size=(patients, features))
    time = np.ceil(10 * generator.exponential(1 / np.exp(design[:, 0] / 2)))
    return design - design.mean(axis=0), time, (generator.random(patients) < 0.6).astype(int)


def test_equals_lifelines_with_a_penalty() -> None:
    design, time, event = sample(80, 4)
    design = design / design.std(axis=0, ddof=1)  # lifelines penalises the coefficients of standardised columns
    frame = pd.DataFrame(design, columns=list("abcd")).assign(time=time, event=event)
    penalty = 3.0
    # lifelines maximises mean(loglik) - penalizer/2 |b|^2.
    fitter = CoxPHFitter(penalizer=penalty / len(frame), l1_ratio=0.0)
    fitter.fit(frame, "time", "event", fit_options={"precision": 1e-10})
    # 1e-5: where lifelines stops. The next test goes to 1e-6.
    assert ridge_cox(design, time, event, penalty, "efron") == pytest.approx(fitter.params_.to_numpy(), abs=1e-5)


@pytest.mark.parametrize("features", [5, 120])
@pytest.mark.parametrize("ties", ["breslow", "efron"])
def test_equals_a_general_optimiser_when_narrow_and_when_wide(features: int, ties: Ties) -> None:
    design, time, event = sample(50, features)
    risk_sets = RiskSets(time, event, ties)
    for penalty in (0.5, 20.0):
        best = minimize(
            lambda b, penalty=penalty: -risk_sets.loglik(design @ b) + penalty / 2 * b @ b,
            np.zeros(features),
            jac=lambda b, penalty=penalty: -design.T @ risk_sets.gradient(design @ b) + penalty * b,
            method="BFGS",
            options={"gtol": 1e-9},
        )
        assert ridge_cox(design, time, event, penalty, ties) == pytest.approx(best.x, abs=1e-6)


@pytest.mark.parametrize("features", [6, 400])
def test_optimality_and_independence_from_the_warm_start(features: int) -> None:
    design, time, event = sample(90, features, seed=1)
    penalties = [10.0, 0.1, 1000.0, 1.0]
    path = ridge_cox_path(design, time, event, penalties)
    for penalty, coefficients in zip(penalties, path, strict=True):
        slope = design.T @ RiskSets(time, event).gradient(design @ coefficients) - penalty * coefficients
        assert np.abs(slope).max() < 1e-6
        assert coefficients == pytest.approx(ridge_cox(design, time, event, penalty), abs=1e-7)


def test_collinear_columns_without_penalty_fit_as_well_as_without_the_copy() -> None:
    design, time, event = sample(60, 3)
    risk_sets = RiskSets(time, event)
    doubled = np.hstack([design, design[:, :1]])
    one, two = ridge_cox(design, time, event), ridge_cox(doubled, time, event)
    assert risk_sets.loglik(doubled @ two) == pytest.approx(risk_sets.loglik(design @ one), abs=1e-8)


def test_what_cannot_be_fitted_is_said() -> None:
    design, time, _ = sample(20, 2)
    with pytest.raises(PathomixError, match="no event"):
        ridge_cox(design, time, np.zeros(20), 1.0)
