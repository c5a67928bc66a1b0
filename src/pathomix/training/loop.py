"""One optimisation loop for all networks: linear decay, L1/L2, selection on the valid part or the last epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pathomix.core.errors import PathomixError
from pathomix.training.batches import batches
from pathomix.training.optimisers import make_optimiser


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Attributes:
        epochs: Passes over the training patients.
        constant_epochs: Epochs before the linear decay of the learning rate starts.
        batch_size: Patients per step.
        learning_rate: Of the optimiser.
        l2: Coupled weight decay of the optimiser.
        l1: Weight of the sum of absolute parameter values.
        patience: Epochs without a better score on the valid part before stopping, the best epoch being kept;
            None: no selection, the last epoch is the model.
        optimiser: Key of `optimisers.OPTIMISERS` or `FURTHER_OPTIMISERS`.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    constant_epochs: int = 0
    l2: float = 0.0
    l1: float = 0.0
    patience: int | None = None
    optimiser: str = "adam"

    def factor(self, epoch: int) -> float:
        """Share of the learning rate in `epoch`, counted from 0 (Path-GPTomic section 5)."""
        decay = self.epochs - self.constant_epochs
        return 1.0 - max(0, epoch + 1 - self.constant_epochs) / (decay + 1)


@dataclass(frozen=True)
class Epoch:
    """What was measured in one epoch: mean training loss, valid score (NaN without), batches without any event."""

    step: int
    loss: float
    score: float
    skipped: int


@dataclass(frozen=True)
class Hooks:
    """Points at which a method takes part in its own training; None = as for every other method.

    Attributes:
        groups: Parameter groups of the optimiser, with what else they carry; one without `lr` has the recipe's.
        order: From the epoch, counted from 0, and the generator of the batch order to the rows of each batch.
        step: Takes the step of the optimiser once the gradients are there.
        measure: Called after each epoch, the model in evaluation mode.
    """

    groups: Sequence[dict[str, Any]] | None = None
    order: Callable[[int, np.random.Generator], Iterator[NDArray[np.int64]]] | None = None
    step: Callable[[torch.optim.Optimizer], None] | None = None
    measure: Callable[[int], None] | None = None


def optimise(
    model: nn.Module,
    loss: Callable[[NDArray[np.int64]], Tensor | None],
    strata: NDArray[np.int64],
    recipe: Recipe,
    seed: int,
    score: Callable[[], float] | None = None,
    hooks: Hooks | None = None,
) -> list[Epoch]:
    """Train `model` in place and leave it in evaluation mode with the selected parameters.

    Args:
        model: Network.
        loss: Mean loss of the patients with these row numbers; None where they carry no information (no event): the
            step is skipped and counted.
        strata: [n], stratum of each training patient (event or class), spread evenly over the batches.
        recipe: Optimisation settings.
        seed: Of the batch order; dropout uses torch's stream, see `seeding.seeded`.
        score: Higher-is-better score of the current model on the valid part; needed with `patience`.
        hooks: Where the method takes part.

    Raises:
        PathomixError: The loss is not finite, or selection is asked for without a valid part.
    """
    if recipe.patience is not None and score is None:
        raise PathomixError("no valid part to select the epoch on", remedy="set `selection: last` for this method")
    generator = np.random.default_rng(seed)
    hooks = hooks or Hooks()
    parameters = _trained(model) if hooks.groups is None else hooks.groups
    optimiser = make_optimiser(recipe.optimiser, parameters, lr=recipe.learning_rate, weight_decay=recipe.l2)
    rates = [group["lr"] for group in optimiser.param_groups]
    history: list[Epoch] = []
    best, best_state, best_step = -math.inf, _copy(model), -1
    for step in range(recipe.epochs):
        for group, rate in zip(optimiser.param_groups, rates, strict=True):
            group["lr"] = rate * recipe.factor(step)
        rows = hooks.order(step, generator) if hooks.order else batches(strata, recipe.batch_size, generator)
        mean, skipped = _epoch(model, loss, rows, recipe.l1, optimiser, hooks.step)
        if hooks.measure is not None:
            model.eval()
            hooks.measure(step)
        value = math.nan
        if recipe.patience is not None and score is not None:
            model.eval()
            value = score()
            if value > best:
                best, best_state, best_step = value, _copy(model), step
        history.append(Epoch(step, mean, value, skipped))
        if recipe.patience is not None and step - best_step >= recipe.patience:
            break
    if recipe.patience is not None:
        if best_step < 0:
            raise PathomixError("the valid part yields no score", remedy="set `selection: last` for this method")
        model.load_state_dict(best_state)
    model.eval()
    return history


def _epoch(
    model: nn.Module,
    loss: Callable[[NDArray[np.int64]], Tensor | None],
    order: Iterator[NDArray[np.int64]],
    l1: float,
    optimiser: torch.optim.Optimizer,
    take_step: Callable[[torch.optim.Optimizer], None] | None,
) -> tuple[float, int]:
    model.train()
    losses: list[float] = []
    skipped = 0
    for rows in order:
        value = loss(rows)
        if value is None:
            skipped += 1
            continue
        losses.append(value.item())
        if not math.isfinite(losses[-1]):
            raise PathomixError(
                "the training loss is not finite", remedy="lower `learning_rate` or set `clip` for the z-scores"
            )
        if l1:
            value = value + l1 * torch.stack([p.abs().sum() for p in _trained(model)]).sum()
        optimiser.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]
        if take_step is None:
            optimiser.step()
        else:
            take_step(optimiser)
    return (float(np.mean(losses)) if losses else math.nan), skipped


def _trained(model: nn.Module) -> list[nn.Parameter]:
    return [p for p in model.parameters() if p.requires_grad]


def _copy(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}
