"""Training of the smoother on embedded mixtures (spec path_gptomic 2.3, 2.4)."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from pathomix.core.errors import PathomixError
from pathomix.core.seeding import seeded
from pathomix.core.seeds import derived_seed
from pathomix.nn.smoother import Smoother
from pathomix.smoothing.parameters import TrainingSettings
from pathomix.smoothing.pool import Rows

log = logging.getLogger(__name__)


def mixture_loss(outputs: Tensor, composition: Tensor, kind: str) -> Tensor:
    """Loss of the head's outputs against compositions, both [n, classes].

    Args:
        outputs: Raw outputs z.
        composition: Rows sum to 1.
        kind: ``mse``: mean over mixtures and classes of (z - t)^2; ``mse_softmax``: the same of softmax(z);
            ``soft_ce``: mean over mixtures of - sum_c t_c log softmax(z)_c.
    """
    if kind == "soft_ce":
        return -(composition * torch.log_softmax(outputs, dim=1)).sum(dim=1).mean()
    return F.mse_loss(torch.softmax(outputs, dim=1) if kind == "mse_softmax" else outputs, composition)


def predicted_composition(outputs: Tensor, kind: str) -> Tensor:
    """Compositions that outputs stand for under a loss."""
    return outputs if kind == "mse" else torch.softmax(outputs, dim=1)


def fit_smoother(
    epoch_rows: Callable[[int], Rows], valid: Rows, classes: int, settings: TrainingSettings
) -> tuple[Smoother, pd.DataFrame]:
    """Train on mixtures and keep the epoch with the lowest loss on held-out ones.

    Args:
        epoch_rows: Training mixtures of an epoch: always the same (``pool``), or new ones (``online``).
        valid: Held-out mixtures.
        classes: Number of cell types.
        settings: How.

    Returns:
        The smoother in evaluation mode and its history (SMOOTHER_HISTORY).

    Raises:
        PathomixError: The loss is not finite.
    """
    first = epoch_rows(0)
    generator = np.random.default_rng(derived_seed(settings.seed, "smoother", "order"))
    records: list[Mapping[str, float]] = []
    with seeded(derived_seed(settings.seed, "smoother", "network")):
        model = Smoother(
            first.embeddings.shape[1], classes, settings.hidden, settings.out_dim, settings.activation,
            settings.dropout,
        )  # fmt: skip
        if settings.standardise:
            model.standardise(torch.from_numpy(first.embeddings))
        optimiser = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
        best, kept = math.inf, _copy(model)
        for epoch in range(settings.epochs):
            rows = first if epoch == 0 else epoch_rows(epoch)
            rate, loss = _epoch(model, rows, epoch, settings, optimiser, generator)
            score = float(mixture_loss(_outputs(model, valid), torch.from_numpy(valid.targets), settings.loss))
            if not math.isfinite(loss) or not math.isfinite(score):
                raise PathomixError(
                    f"the loss is not finite in epoch {epoch}",
                    remedy="lower `learning_rate` or set `standardise: true`",
                )
            records.append({"epoch": epoch, "learning_rate": rate, "train_loss": loss, "valid_loss": score})
            if score < best:
                best, kept = score, _copy(model)
            if epoch - int(np.argmin([record["valid_loss"] for record in records])) >= settings.patience:
                break
        model.load_state_dict(kept)
    history = pd.DataFrame(records)
    history["best"] = history.index == history["valid_loss"].idxmin()
    log.info("epoch %d of %d kept, loss on held-out mixtures %.5f", history["valid_loss"].idxmin(), len(history), best)
    return model.eval(), history


def smooth(model: Smoother, embeddings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Smoothed vectors [n, out_dim] and outputs [n, classes] of embeddings [n, dim], float32, in evaluation mode."""
    model.eval()
    with torch.inference_mode():
        smoothed, outputs = model(torch.from_numpy(np.asarray(embeddings, np.float32)))
    return smoothed.numpy(), outputs.numpy()


def _epoch(
    model: Smoother,
    rows: Rows,
    epoch: int,
    settings: TrainingSettings,
    optimiser: torch.optim.Optimizer,
    generator: np.random.Generator,
) -> tuple[float, float]:
    """One pass; the learning rate at its start and the mean loss."""
    model.train()
    embeddings, targets = torch.from_numpy(rows.embeddings), torch.from_numpy(rows.targets)
    order = torch.from_numpy(generator.permutation(len(targets)))
    batches = torch.split(order, settings.batch_size)
    total, first = 0.0, math.nan
    for step, batch in enumerate(batches):
        progress = (epoch + step / len(batches)) / settings.epochs
        rate = settings.learning_rate * (1.0 + math.cos(math.pi * progress)) / 2.0
        first = rate if step == 0 else first
        for group in optimiser.param_groups:
            group["lr"] = rate
        loss = mixture_loss(model(embeddings[batch])[1], targets[batch], settings.loss)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
        optimiser.step()
        total += loss.item() * len(batch)
    return first, total / len(targets)


def _outputs(model: Smoother, rows: Rows) -> Tensor:
    return torch.from_numpy(smooth(model, rows.embeddings)[1])


def _copy(model: Smoother) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}
