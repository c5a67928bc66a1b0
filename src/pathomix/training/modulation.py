"""Gradient modulation: the modality that is ahead takes smaller steps (Path-GPTomic section 4).

Formulas (5) to (8) of the paper as printed, with all they can return, are in `printed_modulation`; here is what
training uses. Everything is computed in float64 and in logarithms, so that scores of any size give finite coefficients.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from pathomix.core.errors import PathomixError
from pathomix.core.parameters import choice
from pathomix.losses.risk_sets import log_risk_sums, risk_sums

Mode = Literal["paper", "paper_softmax", "stable", "none"]
Apply = Literal["lr", "grad"]
Aggregate = Literal["mean_then_ratio", "per_sample_ratio_mean"]

MODALITY = "modality"
"""Key of an optimiser's parameter group that says which coefficient it has; groups without it have 1."""

# Spec 4.4: below it a mean of the printed shares is no denominator.
_SMALLEST_SHARE = 1e-8
# exp of it is finite in float64; a ratio beyond it gives the same coefficients.
_LARGEST_LOG = 700.0


@dataclass(frozen=True)
class ModulationSettings:
    """How steps are modulated.

    Attributes:
        mode: Ratio of the modalities. ``paper``: the bare score over its risk set's hazard, as printed (it may be
            negative: nothing is slowed then). ``paper_softmax``: its exponential, the share of the risk set's hazard
            (the printed formula repaired). ``stable``: exponential of the averaged difference between the unimodal
            log partial likelihoods. ``none``: no modulation.
        apply: ``lr``: the step size of a modality's parameters times its coefficient. ``grad``: their gradient; an
            optimiser that divides by the size of past gradients, such as Adam, takes most of it out again.
        alpha: Steepness of the coefficient.
        k_min: Smallest coefficient.
        aggregate: From patients to the batch in both ``paper`` modes: ratio of the means of the shares, or for each
            modality the mean of the patients' own ratios (then both modalities can be slowed).
        ema_decay: Decay of the running mean of the difference (``stable``).
        clip: Largest absolute log ratio (``stable``).
        warmup_epochs: First epochs in which nothing is slowed; the running mean already follows.
        window: First and last epoch with modulation, counted from 0, both included; None = all.
        ge_noise: Whether gradients of both modalities get normal noise of their own standard deviation (OGM-GE).
    """

    mode: Mode = "stable"
    apply: Apply = "lr"
    alpha: float = 1.0
    k_min: float = 0.05
    aggregate: Aggregate = "mean_then_ratio"
    ema_decay: float = 0.9
    clip: float = math.log(5.0)
    warmup_epochs: int = 1
    window: tuple[int, int] | None = None
    ge_noise: bool = False

    def __post_init__(self) -> None:
        choice(self.mode, get_args(Mode), "modulation mode")
        choice(self.apply, get_args(Apply), "modulation apply")
        choice(self.aggregate, get_args(Aggregate), "modulation aggregate")
        limits = {
            "alpha is not above 0": self.alpha <= 0,
            "k_min is not from 0 to 1": not 0 <= self.k_min <= 1,
            "ema_decay is not from 0 to below 1": not 0 <= self.ema_decay < 1,
            "clip is not above 0": self.clip <= 0,
            "warmup_epochs is negative": self.warmup_epochs < 0,
            "window is not two epochs, first and last": self.window is not None
            and not (len(self.window) == 2 and 0 <= self.window[0] <= self.window[1]),
        }
        wrong = [fact for fact, holds in limits.items() if holds]
        if wrong:
            raise PathomixError(f"modulation: {'; '.join(wrong)}", remedy="correct these parameters")
        if self.ge_noise and (self.mode == "none" or self.apply == "lr"):
            raise PathomixError(
                "modulation: ge_noise is noise on modulated gradients",
                remedy="set `apply: grad` and a mode other than none, or leave the noise out",
            )


class Coefficients(NamedTuple):
    """What one step is modulated with.

    Attributes:
        genomic: Coefficient k^G of the genomic branch, from k_min to 1.
        image: Coefficient k^P of the image branch.
        ratio: rho^G, above 1 where genomics is ahead; NaN where it is undefined.
        difference: D of this batch (``stable``): mean difference of the unimodal log partial likelihoods; else NaN.
        status: Empty, or why both coefficients are 1.
    """

    genomic: float
    image: float
    ratio: float
    difference: float
    status: str


class _Ratios(NamedTuple):
    genomic: float
    image: float
    difference: float = math.nan
    status: str = ""


class Modulation:
    """Coefficients of the steps of one training run; remembers the running mean of ``stable``."""

    def __init__(self, settings: ModulationSettings) -> None:
        self.settings = settings
        self._average = 0.0
        self._weight = 0.0

    def coefficients(self, genomic: Tensor, image: Tensor, time: Tensor, event: Tensor, epoch: int) -> Coefficients:
        """Coefficients of the next step; to be called once per step.

        Args:
            genomic: Unimodal scores u^G [n], with half of the bias.
            image: Unimodal scores u^P [n].
            time: [n], any unit.
            event: [n], 1 = happened.
            epoch: Counted from 0.
        """
        settings = self.settings
        if settings.mode == "none":
            return Coefficients(1.0, 1.0, math.nan, math.nan, "")
        ratios = self._ratios(genomic, image, time, event)
        status = ratios.status or self._paused(epoch)
        if status:
            return Coefficients(1.0, 1.0, ratios.genomic, ratios.difference, status)
        both = torch.tensor([ratios.genomic, ratios.image], dtype=torch.float64)
        first, second = coefficient(both, settings.alpha, settings.k_min).tolist()
        return Coefficients(first, second, ratios.genomic, ratios.difference, "")

    def _paused(self, epoch: int) -> str:
        window = self.settings.window
        if epoch < self.settings.warmup_epochs:
            return "warm-up"
        return "outside the window" if window is not None and not window[0] <= epoch <= window[1] else ""

    def _ratios(self, genomic: Tensor, image: Tensor, time: Tensor, event: Tensor) -> _Ratios:
        scores = torch.stack([genomic.detach().reshape(-1), image.detach().reshape(-1)]).double().cpu()
        time, event = time.detach().reshape(-1).double().cpu(), event.detach().reshape(-1).cpu()
        if not bool(torch.isfinite(scores).all()):
            return _Ratios(math.nan, math.nan, status="a score is not finite")
        informative = event.bool() & (risk_sums(torch.ones_like(time), time) >= 2)
        empty = not bool(informative.any())
        if self.settings.mode == "stable":
            return self._averaged(scores, time, informative, empty)
        if empty:
            return _Ratios(math.nan, math.nan, status=_NO_EVENT)
        if self.settings.mode == "paper_softmax":
            logs = log_shares(scores, time)[:, informative]
            return _from_log_shares(logs, self.settings.aggregate)
        sums = torch.stack([log_risk_sums(row, time) for row in scores])
        return _from_shares((scores * (-sums).exp())[:, informative], self.settings.aggregate)

    def _averaged(self, scores: Tensor, time: Tensor, informative: Tensor, empty: bool) -> _Ratios:
        difference = math.nan
        if not empty:
            genomic, image = log_shares(scores, time)[:, informative].mean(dim=1).tolist()
            difference = genomic - image
            decay = self.settings.ema_decay
            self._average = decay * self._average + (1.0 - decay) * difference
            self._weight = decay * self._weight + (1.0 - decay)
        if not self._weight:
            return _Ratios(math.nan, math.nan, status=_NO_EVENT)
        clip = self.settings.clip
        log_ratio = min(max(self._average / self._weight, -clip), clip)
        return _Ratios(math.exp(log_ratio), math.exp(-log_ratio), difference)


_NO_EVENT = "no event with a risk set of at least two"


def coefficient(ratio: Tensor, alpha: float = 1.0, k_min: float = 0.0) -> Tensor:
    """max(k_min, min(1 - tanh(alpha (ratio - 1)), 1)): 1 up to a ratio of 1, then falling (equations 7 and 8)."""
    return (1.0 - torch.tanh(alpha * (ratio - 1.0))).clamp(max=1.0).clamp(min=k_min)


def log_shares(scores: Tensor, time: Tensor) -> Tensor:
    """Log of each patient's share of the hazard of its risk set, per modality.

    Args:
        scores: [modalities, n].
        time: [n].

    Returns:
        [modalities, n], at most 0.
    """
    return torch.stack([row - log_risk_sums(row, time) for row in scores])


def log_ratio_of_shares(logs: Tensor, aggregate: Aggregate) -> tuple[float, float]:
    """Log ratio of the first modality to the second, and of the second to the first, over the patients given.

    Args:
        logs: [2, n], log shares.
        aggregate: See `ModulationSettings`.
    """
    if aggregate == "mean_then_ratio":
        first, second = torch.logsumexp(logs, dim=1).tolist()
        return first - second, second - first
    difference = logs[0] - logs[1]
    both = torch.logsumexp(torch.stack([difference, -difference]), dim=1) - math.log(logs.shape[1])
    return float(both[0]), float(both[1])


def _from_log_shares(logs: Tensor, aggregate: Aggregate) -> _Ratios:
    first, second = (
        math.exp(min(max(value, -_LARGEST_LOG), _LARGEST_LOG)) for value in log_ratio_of_shares(logs, aggregate)
    )
    return _Ratios(first, second)


def _from_shares(shares: Tensor, aggregate: Aggregate) -> _Ratios:
    """The printed ratio where it is defined; the rule of spec 4.4 on both sides, so that modalities can be swapped."""
    values = shares.mean(dim=1, keepdim=True) if aggregate == "mean_then_ratio" else shares
    defined = torch.isfinite(values).all(dim=0) & (values.abs() >= _SMALLEST_SHARE).all(dim=0)
    if not bool(defined.any()):
        return _Ratios(math.nan, math.nan, status="the printed ratio is undefined")
    ratio = values[0] / values[1]
    first, second = (torch.where(defined, side, 1.0).mean().item() for side in (ratio, 1.0 / ratio))
    return _Ratios(first, second)


def modulated_step(
    optimiser: torch.optim.Optimizer,
    coefficients: Mapping[str, float],
    apply: Apply,
    noise: torch.Generator | None = None,
) -> None:
    """Take one step of the optimiser in which every modality has its coefficient.

    With ``lr`` the step size is as before afterwards, and decoupled weight decay is not slowed; coupled weight decay is
    part of the gradient and follows the step. With ``grad`` coupled weight decay is added after scaling.

    Args:
        optimiser: Its parameter groups name their modality under the key `MODALITY`.
        coefficients: Modality to coefficient; a group of another modality, or of none, has 1.
        apply: ``lr`` or ``grad``.
        noise: With ``grad``: source of the noise that every gradient of a named modality gets, also where its
            coefficient is 1: normal, with the standard deviation of that gradient before scaling (OGM-GE).
    """
    slowed = [(group, coefficients[group[MODALITY]]) for group in optimiser.param_groups
              if group.get(MODALITY) in coefficients]  # fmt: skip
    if apply == "grad":
        for group, factor in slowed:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    _scale(parameter.grad, factor, noise)
        optimiser.step()
        return
    before = [(group, group["lr"], group["weight_decay"]) for group, factor in slowed if factor != 1.0]
    for group, factor in slowed:
        if factor != 1.0:
            if group.get("decoupled_weight_decay"):
                _decay(group["params"], group["lr"] * group["weight_decay"])
                group["weight_decay"] = 0.0
            group["lr"] = group["lr"] * factor
    try:
        optimiser.step()
    finally:
        for group, rate, decay in before:
            group["lr"], group["weight_decay"] = rate, decay


@torch.no_grad()
def _scale(gradient: Tensor, factor: float, noise: torch.Generator | None) -> None:
    spread = gradient.std() if gradient.numel() > 1 else gradient.new_zeros(())
    gradient.mul_(factor)
    if noise is not None:
        # Drawn on the CPU, so that a seed means the same on every device.
        draw = torch.randn(gradient.shape, generator=noise, dtype=gradient.dtype)
        gradient.add_(draw.to(gradient.device) * (spread + 1e-8))


@torch.no_grad()
def _decay(parameters: list[Tensor], rate: float) -> None:
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.mul_(1.0 - rate)
