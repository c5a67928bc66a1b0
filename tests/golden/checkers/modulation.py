"""Gradient modulation: Path-GPTomic as printed, and the original OGM-GE."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from checking import GoldenSet, Result, checker, torch_inputs
from torch.nn.functional import cross_entropy, linear

from pathomix.losses.cox import cox_loss
from pathomix.nn.path_gptomic import split_scores
from pathomix.training.modulation import Aggregate, modulated_step
from pathomix.training.printed_modulation import (
    Reading,
    hazard_sums,
    ogm_coefficients,
    own_risk_set_term,
    printed_batch_ratio,
    printed_coefficients,
    printed_ratios,
    true_class_score,
)

# Order of `batch_*.rho_g_candidates`.
_CANDIDATES: tuple[tuple[Reading, Aggregate], ...] = (
    ("printed", "per_sample_ratio_mean"),
    ("printed", "mean_then_ratio"),
    ("log_domain", "per_sample_ratio_mean"),
    ("log_domain", "mean_then_ratio"),
)
_READINGS: dict[str, Reading] = {
    "": "printed",
    "exp_reading.": "exponential",
    "exp_reading_logdomain.": "log_domain",
}


@checker("path_gptomic_modulation")
def path_gptomic(golden: GoldenSet) -> Iterator[Result]:
    """NaN and infinities of the printed formulas are expected at the same places."""
    tolerance = golden.tolerance("rel")
    for case in golden.config["cases"]:
        time, event, weighted_g, weighted_p, bias = (
            torch_inputs(golden, f"{case}.{name}") for name in ("time", "event", "wg_g", "wp_p", "b")
        )
        ours = dict(zip(("score_g", "score_p"), _halves(weighted_g, weighted_p, bias), strict=True))
        genomic, image = ours["score_g"], ours["score_p"]
        ours |= {"denominator_g": hazard_sums(genomic, time), "denominator_p": hazard_sums(image, time)}
        for prefix, reading in _READINGS.items():
            ratios = printed_ratios(genomic, image, time, reading)
            factors = printed_coefficients(ratios)
            named = zip(("rho_g", "rho_p", "coeff_g", "coeff_p"), (*ratios, *factors), strict=True)
            ours |= {f"{prefix}{name}": value for name, value in named}
        theta = (weighted_g + weighted_p + bias).requires_grad_()
        negative = cox_loss(theta, time, event, "paper")
        negative.backward()
        assert theta.grad is not None
        ours |= {"eq2.partial_log_likelihood": -negative.detach(), "eq2.autograd_d_theta": -theta.grad}
        ours["eq3.term_per_patient"] = own_risk_set_term(theta.detach(), time)
        for name, patients in (("batch_all", torch.ones_like(event).bool()), ("batch_events", event == 1)):
            if bool(patients.any()):
                values = [printed_batch_ratio(genomic, image, time, patients, *how) for how in _CANDIDATES]
                ours[f"{name}.rho_g_candidates"] = torch.tensor(values, dtype=torch.float64)
        for name, value in ours.items():
            if f"{case}.{name}" in golden.tensors:
                yield golden.compare(f"{case}.{name}", value, tolerance, relative=True)


def _halves(genomic: torch.Tensor, image: torch.Tensor, bias: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Unimodal scores from features that are already weighted: a head whose weights are 1."""
    ones = torch.ones(1, 2, dtype=genomic.dtype)
    first, second = split_scores(ones, bias, genomic[:, None], image[:, None])
    return first[:, 0], second[:, 0]


@checker("ogm_ge")
def ogm_ge(golden: GoldenSet) -> Iterator[Result]:
    """Audio is the first modality. The gradients given without modulation, scaled by ours, give those with it."""
    tolerance = golden.tolerance("coeff_abs")
    for case, facts in golden.config["cases"].items():
        alpha = float(case.rpartition("alpha")[2])
        labels = torch_inputs(golden, f"{case}.labels")
        audio, visual = (torch_inputs(golden, f"{case}.feat_{name}") for name in ("audio", "visual"))
        branches, logits = _branches(golden, case, audio, visual)
        for name, branch in zip(("audio", "visual"), branches, strict=True):
            yield golden.compare(f"{case}.branch_logits_{name}", branch, tolerance)
        yield golden.compare(f"{case}.logits", logits, tolerance)
        losses = [float(cross_entropy(values, labels)) for values in (logits, branches[1], branches[0])]
        yield golden.compare_with(f"{case}.losses (sorted)", sorted(losses), sorted(facts["losses"]), tolerance)
        scores = [true_class_score(branch, labels) for branch in branches]
        result = ogm_coefficients(scores[0], scores[1], alpha)
        for key, value in zip(("ratio_a", "ratio_v", "coeff_a", "coeff_v"), result, strict=True):
            yield golden.compare_with(f"{case}.{key}", value, facts[key], tolerance)
        yield from _gradients(golden, case, {"audio": result.first, "visual": result.second}, tolerance)


def _branches(
    golden: GoldenSet, case: str, audio: torch.Tensor, visual: torch.Tensor
) -> tuple[tuple[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Logits of both halves of the head and their sum; where each half has a linear layer, also its whole bias."""
    if f"{case}.fusion.fc_out.weight" in golden.tensors:
        weight, bias = (torch_inputs(golden, f"{case}.fusion.fc_out.{name}") for name in ("weight", "bias"))
        branches = split_scores(weight, bias, audio, visual)
    else:
        first, second = (
            [torch_inputs(golden, f"{case}.fusion.{layer}.{name}") for name in ("weight", "bias")]
            for layer in ("fc_x", "fc_y")
        )
        branches = linear(audio, *first), linear(visual, *second)
    return branches, branches[0] + branches[1]


def _gradients(golden: GoldenSet, case: str, factors: dict[str, float], tolerance: float) -> Iterator[Result]:
    """One plain gradient step of size 1 from 0 shows the gradient that was applied."""
    start = f"{case}.grad_Normal."
    for name in sorted(n for n in golden.tensors if n.startswith(start)):
        gradient = torch_inputs(golden, name)
        modality = next(key for key in factors if key in name)
        weight = torch.nn.Parameter(torch.zeros_like(gradient))
        weight.grad = gradient
        optimiser = torch.optim.SGD([{"params": [weight], "modality": modality}], lr=1.0)
        modulated_step(optimiser, factors if gradient.ndim == 4 else {}, "grad")
        expected = name.replace("grad_Normal", "grad_OGM")
        largest = float(np.abs(golden.tensors[expected]).max())
        yield golden.compare(expected, -weight.detach(), tolerance, relative=largest > 1)
