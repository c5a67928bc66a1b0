"""Cox partial-likelihood losses, log-sum-exp throughout (Path-GPTomic section 3)."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from pathomix.core.errors import PathomixError

CoxMode = Literal["pf", "paper", "event_mean"]
Ties = Literal["breslow", "efron"]


def cox_loss(
    log_hazard: Tensor, time: Tensor, event: Tensor, mode: CoxMode = "event_mean", ties: Ties = "breslow"
) -> Tensor:
    """Negative log partial likelihood of a batch; risk set of i = {j : t_j >= t_i}, i included.

    Args:
        log_hazard: [n] or [n, 1], theta.
        time: [n], float (never truncated: that makes artificial ties).
        event: [n], 1 = happened.
        mode: ``pf``: divided by all n patients (Pathomic Fusion). ``paper``: the plain sum (equation 2, negated).
            ``event_mean``: divided by max(1, number of events).
        ties: ``breslow``: tied events share the full risk set. ``efron``: the r-th of m tied events has the fraction
            r/m of the tied events' hazard taken off.

    Returns:
        Scalar; 0 with the graph attached where the batch has no event.

    Raises:
        PathomixError: Unknown mode or ties, or lengths that differ.
    """
    if mode not in get_args(CoxMode) or ties not in get_args(Ties):
        raise PathomixError(
            f"unknown Cox loss {mode}/{ties}", remedy=f"mode: {get_args(CoxMode)}, ties: {get_args(Ties)}"
        )
    theta, happened = log_hazard.reshape(-1), event.reshape(-1).bool()
    if not len(theta) == time.numel() == len(happened):
        raise PathomixError(
            f"{len(theta)} log hazards, {time.numel()} times, {len(happened)} events", remedy="pass one per patient"
        )
    if not bool(happened.any()):
        return theta.sum() * 0.0
    times, order = torch.sort(time.reshape(-1), descending=True, stable=True)
    theta, happened = theta[order], happened[order]
    group = torch.cat([times.new_zeros(1, dtype=torch.long), (times[1:] != times[:-1]).long().cumsum(0)])
    last = torch.searchsorted(group, group, right=True) - 1
    logs = torch.logcumsumexp(theta, 0)[last][happened]
    if ties == "efron":
        logs = logs + _efron_correction(theta[happened], group[happened], logs)
    total = -(theta[happened] - logs).sum()
    return total / {"pf": len(theta), "paper": 1, "event_mean": max(1, int(happened.sum()))}[mode]


def _efron_correction(theta: Tensor, group: Tensor, logs: Tensor) -> Tensor:
    """log(1 - r/m * D/S) for each event, D = hazard of the events tied with it, S = its full risk set."""
    _, index, deaths = torch.unique_consecutive(group, return_inverse=True, return_counts=True)
    starts = deaths.cumsum(0) - deaths
    fraction = (torch.arange(len(index), device=index.device) - starts[index]) / deaths[index].to(theta.dtype)
    top = theta.new_full((len(deaths),), -torch.inf).scatter_reduce(0, index, theta.detach(), "amax")
    tied = theta.new_zeros(len(deaths)).index_add(0, index, (theta - top[index]).exp()).log() + top
    return torch.log1p(-fraction * (tied[index] - logs).exp())
