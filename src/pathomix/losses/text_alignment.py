"""Alignment of embeddings with text targets: temperature-scaled KL divergence (ModalTune 4.4)."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torch.nn import functional

from pathomix.core.errors import PathomixError

Normaliser = Literal["softmax", "sigmoid"]
_SCALE = 10.0
_SAME_TEXT = 1e-3


class AlignmentLoss(NamedTuple):
    """Loss: sum over tasks, mean over cases (scalar), and its parts [J] by task."""

    total: Tensor
    by_task: Tensor


def unit_targets(projected: Tensor, centre: Tensor | None = None) -> Tensor:
    """Unit vectors y_j of projected texts.

    Args:
        projected: [..., J, D], texts after the projector.
        centre: [J, D], mean of the training cases' `unit_targets`: what all cases have in common is taken out before
            normalising, so that the loss is about what distinguishes them (ModalTune 9.3; recommended only).
            A target closer than 0.001 to the centre is not stretched to length 1: its direction is noise.
    """
    unit = functional.normalize(projected, dim=-1)
    return unit if centre is None else functional.normalize(unit - centre, dim=-1, eps=_SAME_TEXT)


def text_alignment_loss(
    embeddings: Tensor, targets: Tensor, temperature: float = 1.0, normaliser: Normaliser = "softmax"
) -> AlignmentLoss:
    """10 T^2 KL(q || p) with p from the embeddings' unit vectors and q from the targets, both divided by T.

    ``softmax`` (released code): q and p are distributions over the D channels. ``sigmoid`` (the figure of the paper):
    every channel is a Bernoulli variable of its own, and the D divergences are summed. Both are 0 if and only if
    embeddings and targets have the same direction (softmax: up to a constant added to all channels). At T = 1 the
    softmax form is nearly (10 / 2D) times the squared distance of the centred unit vectors.

    Args:
        embeddings: [B, J, D] or [J, D], of any length.
        targets: Same shape, see `unit_targets`.
        temperature: T; lower values weigh large differences more.
        normaliser: See above.

    Raises:
        PathomixError: Shapes differ, the temperature is not positive, or the normaliser is unknown.
    """
    if embeddings.shape != targets.shape:
        raise PathomixError(
            f"embeddings of shape {tuple(embeddings.shape)}, targets of shape {tuple(targets.shape)}",
            remedy="build the projector with the model's output width and select the texts of the model's tasks",
        )
    if normaliser not in get_args(Normaliser) or not temperature > 0:
        raise PathomixError(
            f"normaliser {normaliser}, temperature {temperature}",
            remedy=f"normaliser: one of {get_args(Normaliser)}; temperature: above 0",
        )
    ours = functional.normalize(embeddings.float(), dim=-1) / temperature
    theirs = targets.detach().float() / temperature
    if normaliser == "softmax":
        divergence = _kl(torch.log_softmax(theirs, dim=-1), torch.log_softmax(ours, dim=-1))
    else:
        on, off = functional.logsigmoid(theirs), functional.logsigmoid(-theirs)
        divergence = _kl(on, functional.logsigmoid(ours)) + _kl(off, functional.logsigmoid(-ours))
    parts = _SCALE * temperature**2 * divergence.sum(dim=-1)
    by_task = parts.reshape(-1, parts.shape[-1]).mean(dim=0)
    return AlignmentLoss(by_task.sum(), by_task)


def _kl(log_target: Tensor, log_input: Tensor) -> Tensor:
    """Terms q log(q / p) - q + p: none is negative, so the sum keeps its digits where p and q are nearly equal."""
    difference = log_target - log_input
    return log_target.exp() * (difference + torch.expm1(-difference))
