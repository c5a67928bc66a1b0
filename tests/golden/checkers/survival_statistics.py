"""Classical survival statistics: by the package where it computes them, by lifelines where evaluation calls it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from checking import GoldenSet, Result, checker
from lifelines import CoxPHFitter, NelsonAalenFitter
from lifelines.statistics import logrank_test, multivariate_logrank_test

from pathomix.survival.breslow import breslow
from pathomix.survival.brier import brier_terms, integrated
from pathomix.survival.censoring import Censoring
from pathomix.survival.concordance import harrell_c
from pathomix.survival.cox import RiskSets, Ties
from pathomix.survival.dynamic_auc import DynamicAuc
from pathomix.survival.kaplan_meier import kaplan_meier
from pathomix.survival.pairs import uno_c
from pathomix.survival.ridge import ridge_cox


@checker("survival_statistics")
def statistics(golden: GoldenSet) -> Iterator[Result]:
    for case, facts in golden.config["cases"].items():
        yield from _cox(golden, case)
        yield from _held_out(golden, case, facts["train_rows"][1], facts)
        yield from _groups(golden, case)
        yield from _curves(golden, case, facts)


def _cox(golden: GoldenSet, case: str) -> Iterator[Result]:
    time, event, design, score, tied = (
        golden.input(f"{case}.{name}") for name in ("time", "event", "X", "log_hazard", "log_hazard_with_ties")
    )
    relative, absolute = golden.tolerance("rel"), golden.tolerance("fitted_coef_abs")
    choices: tuple[Ties, ...] = ("breslow", "efron")
    for ties in choices:
        risk_sets = RiskSets(time, event, ties)
        yield golden.compare(f"{case}.{ties}.loglik", risk_sets.loglik(score), relative, relative=True)
        yield golden.compare(f"{case}.{ties}.grad_neg_loglik", -risk_sets.gradient(score), relative, relative=True)
        coefficients = ridge_cox(design, time, event, 0.0, ties)
        yield golden.compare(f"{case}.{ties}.sksurv_coef", coefficients, absolute)
        if ties == "efron":
            information = risk_sets.newton_terms(design, design @ coefficients)[1]
            yield golden.compare(f"{case}.efron.lifelines_coef", coefficients, absolute)
            errors = np.sqrt(np.diag(np.linalg.inv(information)))
            yield golden.compare(f"{case}.efron.lifelines_se", errors, absolute)
            frame = pd.DataFrame(design, columns=list("abc")).assign(time=time, event=event)
            fitter = CoxPHFitter().fit(frame, "time", "event", fit_options={"precision": 1e-10})
            expected = float(golden.config["cases"][case]["lifelines_loglik_efron"])
            for computer, value in (
                ("lifelines", fitter.log_likelihood_),
                ("ours", risk_sets.loglik(design @ coefficients)),
            ):
                name = f"{case}.lifelines_loglik_efron ({computer})"
                yield golden.compare_with(name, value, expected, relative, relative=True)
    for name, risk in (("cindex", score), ("cindex_tied_scores", tied)):
        yield golden.compare(f"{case}.{name}", np.full(3, harrell_c(time, event, risk)), relative, relative=True)


def _held_out(golden: GoldenSet, case: str, cut: int, facts: dict[str, list[float]]) -> Iterator[Result]:
    """Scores of the test rows with the censoring distribution of the training rows."""
    time, event, design, times = (golden.input(f"{case}.{name}") for name in ("time", "event", "X", "eval_times"))
    relative = golden.tolerance("rel")
    trained, tested = (time[:cut], event[:cut]), (time[cut:], event[cut:])
    censoring = Censoring.of(*trained)
    weights = censoring.weights(*tested)
    yield golden.compare(f"{case}.ipcw_weights_test", weights, relative, relative=True)
    once = np.ones((1, len(tested[0])), dtype=np.float32)
    for suffix, name in (("", "log_hazard"), ("_tied_scores", "log_hazard_with_ties")):
        risk = golden.input(f"{case}.{name}")[cut:]
        truncated = uno_c(*tested, risk, censoring, float(times[-1]))
        yield golden.compare(f"{case}.cindex_ipcw{suffix}", truncated, relative, relative=True)
        stored = facts[f"cindex_ipcw_tau{suffix}"][0]
        yield golden.compare_with(f"{case}.cindex_ipcw_tau{suffix}", truncated, stored, relative, relative=True)
        auc = DynamicAuc.of(*tested, risk, censoring, times)
        yield golden.compare(f"{case}.auc_t{suffix}", auc.at_times(once)[0], relative, relative=True)
        yield golden.compare(f"{case}.auc_mean{suffix}", auc.mean(once), relative, relative=True)
    whole = uno_c(*tested, golden.input(f"{case}.log_hazard")[cut:], censoring)
    stored = facts["cindex_ipcw_no_tau"][0]
    yield golden.compare_with(f"{case}.cindex_ipcw_no_tau", whole, stored, relative, relative=True)
    coefficients = ridge_cox(design[:cut], *trained, 0.0, "breslow")
    baseline = breslow(*trained, design[:cut] @ coefficients)
    survival = baseline.survival((design[cut:] @ coefficients)[:, None], times[None])
    # The baseline depends on fitted coefficients.
    yield golden.compare(f"{case}.test_survival_prob", survival, golden.tolerance("fitted_coef_abs"))
    score = brier_terms(*tested, golden.input(f"{case}.test_survival_prob"), times, censoring).mean(axis=0)
    yield golden.compare(f"{case}.brier", score, relative, relative=True)
    yield golden.compare(f"{case}.ibs", integrated(score, times), relative, relative=True)


def _groups(golden: GoldenSet, case: str) -> Iterator[Result]:
    """Log-rank tests by lifelines, as the figures have them."""
    time, event, score = (golden.input(f"{case}.{name}") for name in ("time", "event", "log_hazard"))
    relative = golden.tolerance("rel")
    high = score > np.median(score)
    groups = time[high], time[~high], event[high], event[~high]
    for name, weighting in (
        ("logrank_median", None),
        ("logrank_wilcoxon", "wilcoxon"),
        ("logrank_peto", "peto"),
        ("logrank_tarone-ware", "tarone-ware"),
    ):
        test = logrank_test(*groups, weightings=weighting)
        yield golden.compare(f"{case}.{name}", [test.test_statistic, test.p_value], relative, relative=True)
    several = multivariate_logrank_test(time, golden.input(f"{case}.groups3"), event)
    found = [several.test_statistic, several.p_value]
    yield golden.compare(f"{case}.logrank_3groups", found, relative, relative=True)


def _curves(golden: GoldenSet, case: str, facts: dict[str, float]) -> Iterator[Result]:
    """Kaplan-Meier by the package; Nelson-Aalen, which it has no use for, by lifelines."""
    time, event = golden.input(f"{case}.time"), golden.input(f"{case}.event")
    relative = golden.tolerance("rel")
    curve = kaplan_meier(time, event)
    when = np.r_[0.0, curve.time]
    yield golden.compare(f"{case}.km_times", when, relative, relative=True)
    yield golden.compare(f"{case}.km_survival", curve.at(when), relative, relative=True)
    interval = np.array([curve.interval(float(moment)) for moment in when])
    yield golden.compare(f"{case}.km_ci", interval, relative, relative=True)
    median = when[np.argmax(curve.at(when) <= 0.5)]
    yield golden.compare_with(f"{case}.km_median", median, facts["km_median"], relative, relative=True)
    fitter = NelsonAalenFitter(nelson_aalen_smoothing=False).fit(time, event)
    yield golden.compare(f"{case}.nelson_aalen", fitter.cumulative_hazard_.to_numpy(), relative, relative=True)
