"""Integrated gradients with a checked sum, and how compressed tokens share attention out to their sources."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

NODES = 8
# Single precision: how far two evaluations of one function differ, relative to its largest value.
_ROUNDING = 4e-6
_CANCELLED = 0.1


class Attribution(NamedTuple):
    """Integrated gradients of one input.

    Attributes:
        values: float64 [n], one per input; they add up to `end` - `start` but for `gap`.
        start: Function at the baseline.
        end: Function at the input.
        gap: (end - start) - sum of values.
        allowed: Largest absolute gap that counts as complete.
        evaluations: Points at which the gradient was taken.
    """

    values: Tensor
    start: float
    end: float
    gap: float
    allowed: float
    evaluations: int

    @property
    def complete(self) -> bool:
        """Whether the sum is the difference within what is allowed."""
        return abs(self.gap) <= self.allowed


class _Piece(NamedTuple):
    """Part of the path: from and to as shares of it, attributions, function at both ends, part of the gap."""

    first: float
    last: float
    values: Tensor
    start: float
    end: float

    @property
    def gap(self) -> float:
        return self.end - self.start - float(self.values.sum())


def integrated_gradients(
    function: Callable[[Tensor], Tensor],
    inputs: Tensor,
    baseline: Tensor,
    *,
    tolerance: float = 0.01,
    evaluations: int = 512,
    at_once: int = NODES,
) -> Attribution:
    """Attribute f(inputs) - f(baseline) along the straight path (Sundararajan, Taly, Yan 2017, eq. 1).

    Completeness says what every stretch of the path has to add up to, so the error of the quadrature is known and not
    estimated: the stretch with the largest error is halved until the errors together are within the tolerance.
    Normalisation layers over nearly constant tokens make a network bend sharply near the baseline; a fixed number of
    equal steps misses it there.

    Args:
        function: Points [S, n] to values [S], each of its own point only.
        inputs: [n].
        baseline: [n].
        tolerance: Share of |f(inputs) - f(baseline)| that the errors of all stretches may come to; where attributions
            cancel, share of a tenth of the sum of their absolute values. Rounding in single precision comes on top.
        evaluations: Largest number of points at which the gradient is taken.
        at_once: Points per call of the function with gradients.
    """
    nodes, weights = _gauss_legendre()
    path = (inputs - baseline).double()
    used = 0

    def value(share: float) -> float:
        with torch.no_grad():
            return float(function((baseline.double() + share * path).to(inputs.dtype)[None])[0])

    def piece(first: float, last: float, start: float, end: float) -> _Piece:
        nonlocal used
        used += NODES
        shares = (first + (last - first) * nodes).to(path.device)
        points = (baseline.double() + shares[:, None] * path).to(inputs.dtype)
        gradient = torch.cat([_gradient(function, part) for part in torch.split(points, at_once)])
        mean = (weights.to(path.device)[:, None] * gradient.double()).sum(dim=0)
        return _Piece(first, last, (last - first) * mean * path, start, end)

    start, half, end = value(0.0), value(0.5), value(1.0)
    # Never the whole path at once: two errors of opposite sign would pass for completeness.
    pieces = [piece(0.0, 0.5, start, half), piece(0.5, 1.0, half, end)]
    while True:
        values = torch.stack([part.values for part in pieces]).sum(dim=0)
        scale = max(abs(end - start), _CANCELLED * float(values.abs().sum()))
        allowed = tolerance * scale + _ROUNDING * max(abs(start), abs(end))
        error = sum(abs(part.gap) for part in pieces)
        if error <= allowed or used + 2 * NODES > evaluations:
            return Attribution(values, start, end, end - start - float(values.sum()), allowed, used)
        worst = max(pieces, key=lambda part: abs(part.gap))
        middle = (worst.first + worst.last) / 2
        between = value(middle)
        rest = [part for part in pieces if part is not worst]
        pieces = [
            *rest,
            piece(worst.first, middle, worst.start, between),
            piece(middle, worst.last, between, worst.end),
        ]


def _gradient(function: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
    with torch.enable_grad():
        leaf = points.detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(function(leaf).sum(), leaf)
    return gradient


def _gauss_legendre() -> tuple[Tensor, Tensor]:
    """Nodes in (0, 1) and weights that add up to 1."""
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    return torch.from_numpy((nodes + 1) / 2), torch.from_numpy(weights / 2)


def compression_shares(weight: Tensor) -> Tensor:
    """Share of each of P inputs in each of G compressed tokens, [G, P], rows adding up to 1.

    Args:
        weight: [G, P] of the linear layer that made the tokens; shares are its absolute values by row. A token whose
            weights are all zero has no share in anything.
    """
    size = weight.detach().abs()
    return size / size.sum(dim=1, keepdim=True).clamp_min(torch.finfo(size.dtype).tiny)
