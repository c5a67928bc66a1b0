"""Discrete losses, time bins, and classical survival statistics."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import torch
from checking import GoldenSet, Result, checker, torch_inputs
from lifelines import KaplanMeierFitter
from lifelines.statistics import logrank_test

from pathomix.losses.cox import cox_loss
from pathomix.losses.discrete import Reduction, discrete_risk, hazards_and_survival, nll_survival_loss
from pathomix.survival.concordance import harrell_c
from pathomix.survival.cox import RiskSets, Ties
from pathomix.survival.discretise import bin_labels, survival_bins
from pathomix.survival.ridge import ridge_cox

_LOSS = re.compile(r"(\w+)_alpha([\d.]+)\.loss(_float64)?")
_REDUCTIONS: dict[str, Reduction] = {
    "mcat_nll": "mean",
    "mmp_nll": "mean",
    "survpath_nll_mean": "mean",
    "survpath_nll_sum": "sum",
}
_LATER = {
    "aalen": "cumulative hazards are not computed by the package",
    "auc": "time-dependent AUC is not computed yet",
    "brier": "the Brier score is not computed yet",
    "ibs": "the Brier score is not computed yet",
    "ipcw": "inverse-probability-of-censoring weights are not computed yet",
    "test_survival_prob": "survival curves of a Cox model are not computed yet",
    "logrank": "weighted and several-group log-rank tests are not computed yet",
    "groups3": "input of the three-group log-rank test",
    "eval_times": "input of the Brier score and AUC",
}


@checker("survival_bins")
def bins(golden: GoldenSet) -> Iterator[Result]:
    for case, facts in golden.config["cases"].items():
        time, event = golden.input(f"{case}.time"), 1 - golden.input(f"{case}.censored")
        for style in ("mcat", "mmp"):
            edges = survival_bins(time, event, facts["n_bins"], style)  # type: ignore[arg-type]
            yield golden.compare(f"{case}.{style}_bins", edges, golden.tolerance("bins_abs"))
            labels = bin_labels(time, edges, style)  # type: ignore[arg-type]
            yield golden.compare(f"{case}.{style}_label", labels, 0.0)


@checker("nll_survival")
def nll_survival(golden: GoldenSet) -> Iterator[Result]:
    logits, label, event = torch_inputs(golden, "in.logits"), golden.input("in.label"), 1 - golden.input("in.censored")
    outcome = torch.from_numpy(label), torch.from_numpy(event)
    tolerances = golden.tolerance("loss_rel"), golden.tolerance("grad_abs")
    for name in sorted(golden.tensors):
        match = _LOSS.fullmatch(name)
        if match is None:
            continue
        family, alpha, suffix = match[1], float(match[2]), match[3] or ""
        gradient_name = f"{family}_alpha{match[2]}.grad_logits{suffix}"
        if family not in _REDUCTIONS:
            for tensor in (name, gradient_name):
                yield golden.unsupported(tensor, f"the loss {family} is not implemented")
            continue
        variable = logits.to(torch.float64 if suffix else torch.float32).clone().requires_grad_()
        loss = nll_survival_loss(variable, *outcome, alpha, _REDUCTIONS[family])
        loss.backward()
        yield golden.compare(name, loss.detach(), tolerances[0], relative=True)
        yield golden.compare(gradient_name, variable.grad, tolerances[1])
    yield golden.compare("survival", hazards_and_survival(logits)[1], tolerances[1])
    yield golden.compare("risk_minus_sum_survival", discrete_risk(logits), tolerances[1])
    total, uncensored = (nll_survival_loss(logits, *outcome, alpha).item() for alpha in (0.0, 1.0))
    yield golden.compare("mmp_nll_parts", [total, uncensored, total - uncensored], tolerances[0], relative=True)
    theta = torch_inputs(golden, "mmp_cox.log_risk").requires_grad_()
    loss = cox_loss(theta, torch_inputs(golden, "mmp_cox.time_untied"), outcome[1], "event_mean")
    loss.backward()
    yield golden.compare("mmp_cox.loss", loss.detach(), tolerances[0], relative=True)
    yield golden.compare("mmp_cox.grad", theta.grad, tolerances[1])
    for name in sorted(golden.tensors):
        if name.startswith("mmp_ranking"):
            yield golden.unsupported(name, "the ranking loss is not implemented")


@checker("survival_statistics")
def statistics(golden: GoldenSet) -> Iterator[Result]:
    for case in golden.config["cases"]:
        yield from _cox(golden, case)
        yield from _groups_and_curves(golden, case)
        for name in sorted(n for n in golden.tensors if n.startswith(f"{case}.") and n not in golden.seen):
            known = [reason for key, reason in _LATER.items() if key in name]
            if known:
                yield golden.unsupported(name, known[0])


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
    for name, risk in (("cindex", score), ("cindex_tied_scores", tied)):
        yield golden.compare(f"{case}.{name}", np.full(3, harrell_c(time, event, risk)), relative, relative=True)


def _groups_and_curves(golden: GoldenSet, case: str) -> Iterator[Result]:
    """By lifelines, as the evaluation and the figures do."""
    time, event, score = (golden.input(f"{case}.{name}") for name in ("time", "event", "log_hazard"))
    relative = golden.tolerance("rel")
    high = score > np.median(score)
    test = logrank_test(time[high], time[~high], event[high], event[~high])
    yield golden.compare(f"{case}.logrank_median", [test.test_statistic, test.p_value], relative, relative=True)
    fitter = KaplanMeierFitter().fit(time, event)
    yield golden.compare(f"{case}.km_times", fitter.survival_function_.index, relative, relative=True)
    yield golden.compare(f"{case}.km_survival", fitter.survival_function_.to_numpy(), relative, relative=True)
    yield golden.compare(f"{case}.km_ci", fitter.confidence_interval_.to_numpy(), relative, relative=True)
