"""Survival curves from a risk against scikit-survival and lifelines."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.util import Surv

from pathomix.core.errors import PathomixError
from pathomix.survival.breslow import RiskCurves, breslow


def sample(seed: int, tied: bool, patients: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    risk = generator.normal(size=patients)
    time = generator.exponential(20 * np.exp(-risk))
    return (np.ceil(time / 5) if tied else time), generator.random(patients) < 0.7, risk


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("scale", [1.0, 1e-4, 1e5])
def test_curves_equal_scikit_survival_on_any_scale_of_risk(tied: bool, scale: float) -> None:
    time, event, risk = sample(0, tied)
    curves = RiskCurves.fit(time, event, scale * risk + 3 * scale)
    theirs = CoxPHSurvivalAnalysis(ties="breslow", tol=1e-12, n_iter=200).fit(
        risk[:, None], Surv.from_arrays(event, time)
    )
    assert curves.coefficient * scale == pytest.approx(theirs.coef_[0], abs=1e-7)
    new, when = np.array([-2.0, 0.1, 1.5]), np.linspace(time.min(), time.max(), 13)
    expected = np.stack([curve(when) for curve in theirs.predict_survival_function(new[:, None])])
    assert curves.survival(scale * new + 3 * scale, when) == pytest.approx(expected, abs=1e-7)
    own = curves.survival_at(scale * new + 3 * scale, when[[2, 5, 12]])
    assert own == pytest.approx(expected[[0, 1, 2], [2, 5, 12]], abs=1e-7)


def test_curves_equal_lifelines_without_ties() -> None:
    time, event, risk = sample(1, tied=False)
    frame = pd.DataFrame({"time": time, "event": event, "risk": risk})
    fitter = CoxPHFitter().fit(frame, "time", "event", fit_options={"precision": 1e-10})
    # At observed times; in between lifelines interpolates and a step function does not.
    expected = fitter.predict_survival_function(pd.DataFrame({"risk": [-1.0, 2.0]}))
    found = RiskCurves.fit(time, event, risk).survival([-1.0, 2.0], expected.index.to_numpy())
    assert found == pytest.approx(expected.to_numpy().T, abs=1e-6)


def test_the_baseline_of_equal_hazards_is_nelson_aalen() -> None:
    baseline = breslow([1, 2, 2, 4, 5], [1, 1, 1, 0, 1], np.zeros(5))
    assert baseline.hazard == pytest.approx(np.cumsum([1 / 5, 2 / 4, 1]))
    assert baseline.survival(0.0, [0.5, 1, 4.9, 50]) == pytest.approx(np.exp([0, -0.2, -0.7, -1.7]))
    assert baseline.last == 5


def test_extreme_risks_give_0_and_1_not_nan() -> None:
    curves = RiskCurves.fit(*sample(2, tied=True))
    when = np.array([0.0, 1.0, 4.0])
    assert curves.survival([1e6], when)[0] == pytest.approx([1, 0, 0])
    assert curves.survival([-1e6], when)[0] == pytest.approx([1, 1, 1])


@pytest.mark.parametrize(
    ("time", "event", "risk", "fact"),
    [
        ([1, 2, 3], [0, 0, 0], [1, 2, 3], "no event"),
        ([1, 2, 3], [1, 1, 0], [2, 2, 2], "same for every patient"),
        ([1, 2, 3], [1, 1, 0], [3, 2, 1], "no finite coefficient"),
        ([1, 2, 3], [1, 1, 0], [1, 2, 3], "no finite coefficient"),
        ([1, 2, 2, 3], [1, 1, 0, 0], [3, 2, 2, 1], "no finite coefficient"),
    ],
)
def test_risks_without_curves_are_refused(time: list[int], event: list[int], risk: list[int], fact: str) -> None:
    with pytest.raises(PathomixError, match=fact):
        RiskCurves.fit(time, event, risk)


def test_a_single_mistake_makes_the_coefficient_finite() -> None:
    assert 0 < RiskCurves.fit([1, 2, 3, 4], [1, 1, 1, 0], [4, 2, 3, 1]).coefficient < 10
