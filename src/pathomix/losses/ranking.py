"""Ranking loss of survival: the patient who died earlier should have the higher risk (golden set `nll_survival`)."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from pathomix.core.errors import PathomixError

RankingShape = Literal["relu", "sigmoid"]


def ranking_loss(log_hazard: Tensor, time: Tensor, event: Tensor, shape: RankingShape = "sigmoid") -> Tensor:
    """Minus the mean of phi(theta_i - theta_j) over the pairs in which i died and j was followed for longer.

    Args:
        log_hazard: [n] or [n, 1], theta.
        time: [n], any unit.
        event: [n], 1 = happened.
        shape: phi: ``relu`` (unbounded: the loss falls for as long as the risks spread) or ``sigmoid`` (a smooth
            concordance).

    Returns:
        Scalar; 0 with the graph attached where no pair can be compared.

    Raises:
        PathomixError: Unknown shape, or lengths that differ.
    """
    if shape not in get_args(RankingShape):
        raise PathomixError(f"unknown ranking loss {shape}", remedy=f"set it to one of {get_args(RankingShape)}")
    theta, happened, times = log_hazard.reshape(-1), event.reshape(-1).bool(), time.reshape(-1)
    if not len(theta) == len(times) == len(happened):
        raise PathomixError(
            f"{len(theta)} log hazards, {len(times)} times, {len(happened)} events", remedy="pass one per patient"
        )
    comparable = happened[:, None] & (times[None] > times[:, None])
    if not bool(comparable.any()):
        return theta.sum() * 0.0
    ahead = (theta[:, None] - theta[None])[comparable]
    return -(torch.relu(ahead) if shape == "relu" else torch.sigmoid(ahead)).mean()
