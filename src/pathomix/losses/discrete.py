"""Discrete-time survival: hazards per interval, and their negative log-likelihood."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from pathomix.core.errors import PathomixError

Reduction = Literal["mean", "sum"]
_FLOOR = 1e-7


def hazards_and_survival(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Hazards sigmoid(logits) [n, bins] and survival probabilities at the end of each interval [n, bins]."""
    hazards = torch.sigmoid(logits)
    return hazards, torch.cumprod(1.0 - hazards, dim=1)


def discrete_risk(logits: Tensor) -> Tensor:
    """Risk [n] = minus the sum of survival probabilities: higher is worse."""
    return -hazards_and_survival(logits)[1].sum(dim=1)


def nll_survival_loss(
    logits: Tensor, label: Tensor, event: Tensor, alpha: float = 0.0, reduction: Reduction = "mean"
) -> Tensor:
    """Negative log-likelihood of discrete hazards, (1 - alpha) (censored + uncensored) + alpha uncensored.

    With Y the interval and S_-1 = 1: uncensored = -(log S_{Y-1} + log h_Y), censored = -log S_Y. Probabilities are
    clamped at 1e-7, so the gradient is zero where the clamp acts (MCAT, SurvPath and MMP do the same).

    Args:
        logits: [n, bins].
        label: [n], 0-based interval of the time.
        event: [n], 1 = happened.
        alpha: Weight in [0, 1] that takes the censored term out.
        reduction: ``mean`` over the batch (MCAT, MMP) or ``sum`` (SurvPath's default).

    Raises:
        PathomixError: A label without an interval.
    """
    index = label.reshape(-1, 1).long()
    if index.numel() and not 0 <= int(index.min()) <= int(index.max()) < logits.shape[1]:
        raise PathomixError(f"time labels outside 0..{logits.shape[1] - 1}", remedy="label with the training edges")
    happened = event.reshape(-1, 1).to(logits.dtype)
    hazards, survival = hazards_and_survival(logits)
    padded = torch.cat([torch.ones_like(survival[:, :1]), survival], dim=1)
    before = padded.gather(1, index).clamp(min=_FLOOR)
    through = padded.gather(1, index + 1).clamp(min=_FLOOR)
    hazard = hazards.gather(1, index).clamp(min=_FLOOR)
    uncensored = -happened * (before.log() + hazard.log())
    censored = -(1.0 - happened) * through.log()
    loss = (1.0 - alpha) * (censored + uncensored) + alpha * uncensored
    return loss.mean() if reduction == "mean" else loss.sum()
