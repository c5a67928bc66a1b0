from __future__ import annotations

import logging
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lifelines import CoxPHFitter

from pathomix.core.errors import PathomixError
from pathomix.survival.concordance import harrell_c
from pathomix.survival.cox import RiskSets
from pathomix.survival.probe_cox import StratifiedRiskSets, probe_cox, stratified_concordance

TIGHT = {"precision": 1e-13, "r_precision": 1e-16}


def sample(patients: int, columns: int, seed: int = 0, months: bool = True) -> tuple[np.ndarray, ...]:
    """Design on unequal scales and away from 0, times (whole months: many ties), events and three strata."""
    generator = np.random.default_rng(seed)
    design = generator.normal(3.0, 2.0, (patients, columns)) * generator.uniform(0.1, 10, columns)
    hazard = (design[:, 0] - design[:, 0].mean()) / design[:, 0].std()
    time = generator.exponential(12 / np.exp(hazard)) + 0.01
    event = (generator.random(patients) < 0.6).astype(int)
    event[0] = 1
    return design, np.ceil(time) if months else time, event, generator.integers(0, 3, patients)


def lifelines(
    design: np.ndarray, time: np.ndarray, event: np.ndarray, penalty: float, strata: np.ndarray | None, **options: float
) -> CoxPHFitter:
    frame = pd.DataFrame(design).rename(columns=str).assign(time=time, event=event)
    if strata is not None:
        frame["stratum"] = strata
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitter = CoxPHFitter(penalizer=penalty)
        return fitter.fit(frame, "time", "event", strata=None if strata is None else ["stratum"], fit_options=options)


@pytest.mark.parametrize("stratified", [False, True])
@pytest.mark.parametrize(
    ("patients", "columns", "penalty", "months"),
    [(50, 3, 0.1, True), (60, 100, 0.1, True), (200, 20, 0.01, False), (300, 8, 2.0, True), (120, 1, 0.1, True)],
)
def test_equals_lifelines(patients: int, columns: int, penalty: float, months: bool, stratified: bool) -> None:
    design, time, event, strata = sample(patients, columns, months=months)
    given_strata = strata if stratified else None
    for convergence, options in (("optimum", TIGHT), ("lifelines", {})):
        theirs = lifelines(design, time, event, penalty, given_strata, **options)
        ours = probe_cox(design, time, event, penalty, strata=given_strata, convergence=convergence)
        # In units of the z-scored columns, so that no column's scale hides an error.
        scale = design.std(axis=0, ddof=1)
        tolerance = 1e-6 if convergence == "optimum" else 1e-10
        assert ours.coefficients * scale == pytest.approx(theirs.params_.to_numpy() * scale, abs=tolerance)
        plain = pd.DataFrame(design[:7] + 1.0).rename(columns=str)
        assert ours.log_hazard(design[:7] + 1.0) == pytest.approx(
            theirs.predict_log_partial_hazard(plain).to_numpy(), abs=tolerance * 10 * columns
        )


@pytest.mark.slow
@pytest.mark.parametrize(("patients", "columns"), [(800, 256), (150, 256)])
@pytest.mark.parametrize("stratified", [False, True])
def test_equals_lifelines_at_full_size(patients: int, columns: int, stratified: bool) -> None:
    design, time, event, strata = sample(patients, columns, seed=2)
    given_strata = strata if stratified else None
    theirs = lifelines(design, time, event, 0.1, given_strata, **TIGHT).params_.to_numpy()
    ours = probe_cox(design, time, event, 0.1, strata=given_strata)
    assert ours.coefficients == pytest.approx(theirs, abs=1e-6)


def test_damped_steps_equal_lifelines_where_a_step_is_cut_and_where_it_gives_up() -> None:
    def steep(columns: int) -> tuple[np.ndarray, ...]:
        design, time, event, _ = sample(40, columns, seed=3, months=False)
        design[np.argsort(time), 0] = np.linspace(5, -5, 40) ** 3
        return design, time, event

    design, time, event = steep(3)
    fitter = lifelines(design, time, event, 3.5e-4, None)
    ours = probe_cox(design, time, event, 3.5e-4, convergence="lifelines").coefficients
    assert ours == pytest.approx(fitter.params_.to_numpy(), abs=1e-12)
    # Here lifelines warns and hands out what it has.
    with pytest.raises(PathomixError, match=r"does not converge; raise `penalty`, or set `convergence: optimum`"):
        probe_cox(*steep(6), 5e-4, convergence="lifelines")
    assert np.isfinite(probe_cox(*steep(6), 5e-4).coefficients).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(5, 60), st.integers(1, 80), st.sampled_from([0.01, 0.1, 3.0]), st.booleans())
def test_optimality(seed: int, patients: int, columns: int, penalty: float, stratified: bool) -> None:
    """The gradient of mean(loglik) - penalty/2 |b|^2 in z-scored columns vanishes, narrow or wide, ties or not."""
    design, time, event, strata = sample(patients, columns, seed)
    scale = design.std(axis=0, ddof=1)
    fit = probe_cox(design, time, event, penalty, strata=strata if stratified else None)
    scaled = (design - design.mean(axis=0)) / scale
    slope = -patients * penalty * fit.coefficients * scale
    for label in np.unique(strata) if stratified else [None]:
        rows = np.flatnonzero(strata == label) if stratified else np.arange(patients)
        part = RiskSets(time[rows], event[rows], "efron")
        slope += scaled[rows].T @ part.gradient(fit.log_hazard(design[rows]))
    assert np.abs(slope).max() < 1e-6 * patients


def test_curvature_is_the_derivative_of_the_gradient() -> None:
    design, time, event, strata = sample(40, 4)
    design = (design - design.mean(axis=0)) / design.std(axis=0)
    sets, point, step = StratifiedRiskSets(time, event, strata), np.array([0.3, -0.2, 0.1, 0.5]), 1e-5
    gradient, information = sets.newton_terms(design, design @ point)
    for column in range(4):
        shift = step * np.eye(4)[column]
        ahead, behind = (sets.newton_terms(design, design @ (point + s * shift))[0] for s in (1, -1))
        assert (behind - ahead) / (2 * step) == pytest.approx(information[column], abs=1e-4)
        rise = sets.loglik(design @ (point + shift)) - sets.loglik(design @ (point - shift))
        assert rise / (2 * step) == pytest.approx(gradient[column], abs=1e-5)


def test_scale_and_shift_of_columns_do_not_matter_to_the_hazard() -> None:
    design, time, event, _ = sample(90, 6)
    moved = design * np.array([1e-6, 1e6, 3, 1, 1, -2]) + 100
    expected = probe_cox(design, time, event, 0.1).log_hazard(design)
    assert probe_cox(moved, time, event, 0.1).log_hazard(moved) == pytest.approx(expected, abs=1e-7)


def test_a_stratum_without_event_and_one_of_a_single_patient_change_nothing() -> None:
    design, time, event, strata = sample(80, 3)
    more = np.vstack([design, design[:6]])
    times, events = np.r_[time, 1.0, 2, 3, 4, 5, 2], np.r_[event, 0, 0, 0, 0, 0, 1]
    labels = np.r_[strata, 7, 7, 7, 7, 7, 8]
    # The penalty is per patient, and z-scores are over all: both made equal by hand.
    scale = more.std(axis=0, ddof=1)
    sets = StratifiedRiskSets(time, event, strata)
    fit = probe_cox(more, times, events, 0.1, strata=labels)
    slope = sets.newton_terms((design - more.mean(axis=0)) / scale, fit.log_hazard(design))[0]
    assert slope == pytest.approx(86 * 0.1 * fit.coefficients * scale, abs=1e-6)


def test_stratified_concordance_equals_lifelines_own() -> None:
    design, time, event, strata = sample(90, 4)
    strata[5] = 9
    theirs = lifelines(design, time, event, 0.1, strata)
    risk = probe_cox(design, time, event, 0.1, strata=strata, convergence="lifelines").log_hazard(design)
    assert stratified_concordance(time, event, risk, strata).index == pytest.approx(theirs.concordance_index_)
    frame = pd.DataFrame(design).rename(columns=str).assign(time=time, event=event, stratum=strata)
    assert harrell_c(time, event, risk) == pytest.approx(theirs.score(frame, "concordance_index"))
    assert harrell_c(time, event, risk) != pytest.approx(theirs.concordance_index_)


def test_constant_columns_are_named_and_have_no_effect(caplog: pytest.LogCaptureFixture) -> None:
    design, time, event, _ = sample(60, 4)
    padded = np.insert(design, [1, 4], [0.1, -7e8], axis=1)
    with caplog.at_level(logging.WARNING):
        fit = probe_cox(padded, time, event, 0.1)
    assert "2 of 6 columns" in caplog.text
    assert "1, 5" in caplog.text
    assert fit.coefficients[[1, 5]].tolist() == [0, 0]
    expected = probe_cox(design, time, event, 0.1).coefficients
    assert np.delete(fit.coefficients, [1, 5]) == pytest.approx(expected, abs=1e-12)
    with pytest.raises(PathomixError, match="all 2 columns have one value"):
        probe_cox(padded[:, [1, 5]], time, event, 0.1)


def test_what_cannot_be_fitted_is_said() -> None:
    design, time, event, strata = sample(30, 2)
    with pytest.raises(PathomixError, match="no event"):
        probe_cox(design, time, 0 * event, 0.1)
    with pytest.raises(PathomixError, match="penalty is -1"):
        probe_cox(design, time, event, -1)
    with pytest.raises(PathomixError, match="convergence is 'loose'"):
        probe_cox(design, time, event, 0.1, convergence="loose")  # type: ignore[arg-type]
    with pytest.raises(PathomixError, match="29 strata for 30"):
        probe_cox(design, time, event, 0.1, strata=strata[1:])
    with pytest.raises(PathomixError, match=r"shape \(29, 2\) for 30"):
        probe_cox(design[1:], time, event, 0.1)
    design[4, 1] = np.nan
    with pytest.raises(PathomixError, match="not finite at rows: 4;"):
        probe_cox(design, time, event, 0.1)
    wide, time, event, _ = sample(20, 40)
    with pytest.raises(PathomixError, match="does not converge"):
        probe_cox(wide, time, event, 0.0, convergence="lifelines")
