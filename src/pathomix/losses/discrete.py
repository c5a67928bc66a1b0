"""Discrete-time survival: hazards per interval, and their negative log-likelihood."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

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
    index = _intervals(logits, label)
    happened = event.reshape(-1, 1).to(logits.dtype)
    padded = _padded_survival(logits)
    before = padded.gather(1, index).clamp(min=_FLOOR)
    through = padded.gather(1, index + 1).clamp(min=_FLOOR)
    hazard = torch.sigmoid(logits).gather(1, index).clamp(min=_FLOOR)
    uncensored = -happened * (before.log() + hazard.log())
    censored = -(1.0 - happened) * through.log()
    loss = (1.0 - alpha) * (censored + uncensored) + alpha * uncensored
    return loss.mean() if reduction == "mean" else loss.sum()


def survival_cross_entropy(logits: Tensor, label: Tensor, event: Tensor, alpha: float = 0.0) -> Tensor:
    """Cross-entropy of having survived the interval, (1 - alpha) cross-entropy + alpha uncensored, batch mean.

    cross-entropy = -log S_Y for the censored, -log(1 - S_Y) for the others; uncensored as in `nll_survival_loss`. The
    second loss of MCAT; its cross-entropy knows only that an event came by the end of its interval, not when.

    Args:
        logits: [n, bins].
        label: [n], 0-based interval of the time.
        event: [n], 1 = happened.
        alpha: Weight in [0, 1] of the uncensored term.

    Raises:
        PathomixError: A label without an interval.
    """
    index = _intervals(logits, label)
    happened = event.reshape(-1, 1).to(logits.dtype)
    padded = _padded_survival(logits)
    # The reference adds its floor to the survival before the interval and puts none under the hazard.
    uncensored = -happened * ((padded.gather(1, index) + _FLOOR).log() + logsigmoid(logits).gather(1, index))
    through = padded.gather(1, index + 1)
    survived, died = through.clamp(min=_FLOOR).log(), (1.0 - through).clamp(min=_FLOOR).log()
    entropy = -(1.0 - happened) * survived - happened * died
    return ((1.0 - alpha) * entropy + alpha * uncensored).mean()


def _intervals(logits: Tensor, label: Tensor) -> Tensor:
    """Labels as an index [n, 1]."""
    index = label.reshape(-1, 1).long()
    if index.numel() and not 0 <= int(index.min()) <= int(index.max()) < logits.shape[1]:
        raise PathomixError(f"time labels outside 0..{logits.shape[1] - 1}", remedy="label with the training edges")
    return index


def _padded_survival(logits: Tensor) -> Tensor:
    """Survival before the first interval (1) and through each, [n, bins + 1]."""
    survival = hazards_and_survival(logits)[1]
    return torch.cat([torch.ones_like(survival[:, :1]), survival], dim=1)
