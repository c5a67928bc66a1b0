"""Sums over risk sets R_i = {j : t_j >= t_i}, one per patient, tied times included."""

from __future__ import annotations

import torch
from torch import Tensor

from pathomix.core.errors import PathomixError


def log_risk_sums(score: Tensor, time: Tensor) -> Tensor:
    """Log of the sum of exp(score_j) over the risk set of every patient (Path-GPTomic section 3.1).

    Args:
        score: [n], log hazards or parts of them.
        time: [n], any unit.

    Returns:
        [n], in the order of the patients.

    Raises:
        PathomixError: Lengths differ.
    """
    order, last = _nested(time, len(score))
    return torch.empty_like(score).scatter(0, order, torch.logcumsumexp(score[order], 0)[last])


def risk_sums(weight: Tensor, time: Tensor) -> Tensor:
    """Sum of weight_j over the risk set of every patient, [n]; an infinite weight makes every sum with it infinite."""
    order, last = _nested(time, len(weight))
    return torch.empty_like(weight).scatter(0, order, weight[order].cumsum(0)[last])


def _nested(time: Tensor, patients: int) -> tuple[Tensor, Tensor]:
    """The order of descending times, in which every risk set is a prefix, and the last place of each prefix."""
    if time.ndim != 1 or len(time) != patients:
        raise PathomixError(f"{patients} scores, times of shape {tuple(time.shape)}", remedy="pass one per patient")
    times, order = torch.sort(time, descending=True, stable=True)
    return order, torch.searchsorted(-times, -times, right=True) - 1
