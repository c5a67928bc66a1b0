"""Discrete losses and time bins."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import torch
from checking import GoldenSet, Result, checker, torch_inputs
from torch import Tensor

from pathomix.losses.cox import cox_loss
from pathomix.losses.discrete import (
    Reduction,
    discrete_risk,
    hazards_and_survival,
    nll_survival_loss,
    survival_cross_entropy,
)
from pathomix.losses.ranking import ranking_loss
from pathomix.survival.discretise import bin_labels, survival_bins

_LOSS = re.compile(r"(\w+)_alpha([\d.]+)\.loss(_float64)?")
_REDUCTIONS: dict[str, Reduction] = {
    "mcat_nll": "mean",
    "mmp_nll": "mean",
    "survpath_nll_mean": "mean",
    "survpath_nll_sum": "sum",
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
        variable = logits.to(torch.float64 if suffix else torch.float32).clone().requires_grad_()
        if family == "mcat_ce":
            loss = survival_cross_entropy(variable, *outcome, alpha)
        elif family in _REDUCTIONS:
            loss = nll_survival_loss(variable, *outcome, alpha, _REDUCTIONS[family])
        else:
            for tensor in (name, gradient_name):
                yield golden.unsupported(tensor, f"the loss {family} is not implemented")
            continue
        loss.backward()
        yield golden.compare(name, loss.detach(), tolerances[0], relative=True)
        yield golden.compare(gradient_name, variable.grad, tolerances[1])
    yield golden.compare("survival", hazards_and_survival(logits)[1], tolerances[1])
    yield golden.compare("risk_minus_sum_survival", discrete_risk(logits), tolerances[1])
    total, uncensored = (nll_survival_loss(logits, *outcome, alpha).item() for alpha in (0.0, 1.0))
    yield golden.compare("mmp_nll_parts", [total, uncensored, total - uncensored], tolerances[0], relative=True)
    score, time = torch_inputs(golden, "mmp_cox.log_risk"), torch_inputs(golden, "mmp_cox.time_untied")
    pairwise: dict[str, Callable[[Tensor], Tensor]] = {
        "mmp_cox": lambda theta: cox_loss(theta, time, outcome[1], "event_mean"),
        "mmp_ranking_relu": lambda theta: ranking_loss(theta, time, outcome[1], "relu"),
        "mmp_ranking_sigmoid": lambda theta: ranking_loss(theta, time, outcome[1], "sigmoid"),
    }
    for family, loss_of in pairwise.items():
        theta = score.clone().requires_grad_()
        loss = loss_of(theta)
        loss.backward()
        yield golden.compare(f"{family}.loss", loss.detach(), tolerances[0], relative=True)
        yield golden.compare(f"{family}.grad", theta.grad, tolerances[1])
