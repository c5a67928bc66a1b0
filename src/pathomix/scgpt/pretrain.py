"""A short pretraining on single cells: hidden bins are told from those that are seen (spec scgpt 2 and 3.1)."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pathomix.core.errors import PathomixError
from pathomix.scgpt.heads import Heads
from pathomix.scgpt.model import ScGPT
from pathomix.scgpt.tokens import KeyedDraws, Tokens

log = logging.getLogger(__name__)

MASK_VALUE = -1.0
"""Value of a gene whose bin is hidden (`mask_value` of the released models)."""

MASK_RATIOS = (0.25, 0.5, 0.75)
"""Shares of the genes that are hidden, one of them per batch (`mask_ratio` of the released models)."""

_CLIP = 1.0


@dataclass(frozen=True)
class PretrainingSettings:
    """How a model is trained.

    Attributes:
        epochs: Passes over the cells.
        genes_per_cell: Genes of a cell that are read in one pass, drawn anew in each; of cells with fewer, all.
        learning_rate: Of AdamW: reached over the first pass, from then on a cosine takes it to 0.
        batch_size: Cells per step.
        n_bins: Bins including 0.
        seed: Of genes, masks and order; each cell has its own stream, keyed by its id.
    """

    epochs: int
    genes_per_cell: int = 64
    learning_rate: float = 5e-3
    batch_size: int = 32
    n_bins: int = 51
    seed: int = 0

    def __post_init__(self) -> None:
        least = {"epochs": 1, "genes_per_cell": 2, "batch_size": 1, "n_bins": 3, "seed": 0}
        wrong = [name for name, value in least.items() if getattr(self, name) < value]
        if not 0 < self.learning_rate < math.inf:
            wrong.append("learning_rate")
        if wrong:
            raise PathomixError(
                "pretraining: numbers are out of range",
                offending=wrong,
                remedy=f"smallest values are {least}; learning_rate is above 0",
            )


class Masked(NamedTuple):
    """Cells of equal length with hidden bins.

    Attributes:
        genes: int64 [B, L], token ids: ``<cls>``, then the hidden genes, then the seen ones.
        values: float32 [B, L], bins as the model sees them; `MASK_VALUE` where hidden.
        hidden: float32 [B, hidden], the true bins of positions 1 to `hidden`.
    """

    genes: Tensor
    values: Tensor
    hidden: Tensor


class EpochLoss(NamedTuple):
    """Mean squared errors of the hidden bins in one pass, bins divided by the highest one.

    Attributes:
        gene: Read off the states of the hidden genes.
        cell: Read off the cell embedding.
    """

    gene: float
    cell: float


def pretraining_heads(width: int, seed: int) -> Heads:
    """Heads with random weights; torch's own random stream is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1)
        return Heads(width)


def spread_over_bins(model: ScGPT, n_bins: int, seed: int) -> None:
    """Draw the first layer of the value encoder anew, in place, so that its units bend all over the range of the bins.

    As torch draws them, nearly all are straight beyond the lowest bins, and the layer norm behind makes the terms of
    bin 10 and bin 50 almost the same: a long training can mend that, a short one cannot.

    Args:
        model: With random weights.
        n_bins: Bins including 0.
        seed: Of the draws; torch's own random stream is left as it was.
    """
    first, highest = model.value_encoder.linear1, n_bins - 1
    generator = torch.Generator().manual_seed(seed + 2)
    # Uniform bins have a deviation of highest / sqrt(12): each unit's input then varies by about 1.
    slopes = torch.randn(first.weight.shape, generator=generator) * math.sqrt(12) / highest
    bends = torch.rand(first.bias.shape, generator=generator) * highest
    with torch.no_grad():
        first.weight.copy_(slopes)
        first.bias.copy_(-slopes[:, 0] * bends)


def masked(cells: Mapping[str, Tokens], size: int, ratio: float, seed: int, epoch: int) -> Masked:
    """Random genes of each cell, some of them with their bins hidden.

    Args:
        cells: Tokens by id of the cell, ``<cls>`` first, each with at least `size` genes.
        size: Genes of a cell that are read, at least 2.
        ratio: Share of these whose bins are hidden; at least one is, and at least one is not.
        seed: Of the draws.
        epoch: Number of the pass; each draws anew.
    """
    genes, values = [], []
    for name, cell in cells.items():
        # A subset comes in random order: its first genes are a random part of it.
        chosen = KeyedDraws(seed, f"pretraining\0{name}", epoch).subset(cell.genes[1:], size)
        places = np.concatenate([[0], 1 + chosen])
        genes.append(cell.genes[places])
        values.append(cell.values[places])
    seen = torch.from_numpy(np.stack(values))
    span = slice(1, 1 + min(max(round(ratio * size), 1), size - 1))
    truth = seen[:, span].clone()
    seen[:, span] = MASK_VALUE
    return Masked(torch.from_numpy(np.stack(genes)), seen, truth)


def hidden_bins(model: ScGPT, heads: Heads, batch: Masked, n_bins: int) -> tuple[Tensor, Tensor]:
    """Hidden bins [B, hidden] as read off the genes' own states, and off the cell embedding.

    Outputs of the heads count from the middle bin in units of the highest; the inner product is divided by the width.
    Both only set where a short training starts: near the mean bin, with steps that do not grow with the width.
    """
    states = model(batch.genes, batch.values)
    span = slice(1, 1 + batch.hidden.shape[1])
    by_gene = heads.expression(states[:, span])
    by_cell = heads.expression_by_cell(states[:, 0], model.encoder(batch.genes[:, span])) / states.shape[-1]
    highest = n_bins - 1
    return highest * (0.5 + by_gene), highest * (0.5 + by_cell)


def pretrain(model: ScGPT, heads: Heads, cells: Mapping[str, Tokens], settings: PretrainingSettings) -> list[EpochLoss]:
    """Train model and heads in place to tell hidden bins from seen ones; equal arguments give equal bits on a CPU.

    The loss is the sum of the two mean squared errors of `hidden_bins`. Attention is not restricted (the official
    pretraining's generation part is left out).

    Args:
        model: Left in evaluation mode.
        heads: Of its width.
        cells: All tokens by id of the cell, ``<cls>`` first; cells with fewer than two genes are left out.
        settings: How.

    Returns:
        Losses of the epochs.

    Raises:
        PathomixError: No cell has two genes, or the loss is not finite; the step is named.
    """
    usable = {name: tokens for name, tokens in cells.items() if len(tokens.genes) > 2}
    if not usable:
        raise PathomixError("no cell has two genes to read", remedy="check gene names and `min_expression`")
    names = list(usable)
    lengths = np.array([len(tokens.genes) - 1 for tokens in usable.values()])
    optimiser = torch.optim.AdamW([*model.parameters(), *heads.parameters()], lr=settings.learning_rate)
    generator = np.random.default_rng(settings.seed)
    history = []
    with torch.random.fork_rng(devices=[]):
        # For dropout, where the model has any.
        torch.manual_seed(settings.seed)
        model.train()
        for epoch in range(settings.epochs):
            total = np.zeros(2)
            batches = _batches(lengths, settings, generator)
            for step, rows in enumerate(batches):
                size = min(int(lengths[rows].min()), settings.genes_per_cell)
                ratio = float(generator.choice(MASK_RATIOS))
                batch = masked({names[row]: usable[names[row]] for row in rows}, size, ratio, settings.seed, epoch)
                for group in optimiser.param_groups:
                    group["lr"] = _rate(epoch, step, len(batches), settings)
                where = f"step {step} of epoch {epoch}"
                total += len(rows) * _step(model, heads, batch, settings.n_bins, optimiser, where)
            history.append(EpochLoss(*map(float, total / len(names))))
            log.info("epoch %d: squared error off genes %.4f, off cells %.4f", epoch, *history[-1])
    model.eval()
    return history


def _step(
    model: ScGPT, heads: Heads, batch: Masked, n_bins: int, optimiser: torch.optim.Optimizer, where: str
) -> NDArray[np.float64]:
    """One step; both losses before it."""
    losses = torch.stack([F.mse_loss(found, batch.hidden) for found in hidden_bins(model, heads, batch, n_bins)])
    losses = losses / (n_bins - 1) ** 2
    if not torch.isfinite(losses).all():
        raise PathomixError(f"pretraining: the loss is not finite in {where}", remedy="lower the learning rate")
    optimiser.zero_grad(set_to_none=True)
    losses.sum().backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_([*model.parameters(), *heads.parameters()], _CLIP)
    optimiser.step()
    return losses.detach().numpy().astype(np.float64)


def _rate(epoch: int, step: int, steps: int, settings: PretrainingSettings) -> float:
    """Learning rate: linear over the first epoch, times a cosine over all."""
    done = epoch + step / steps
    warm = min(1.0, done + 1 / steps)
    return settings.learning_rate * warm * (1.0 + math.cos(math.pi * done / settings.epochs)) / 2.0


def _batches(
    lengths: NDArray[np.int64], settings: PretrainingSettings, generator: np.random.Generator
) -> Sequence[NDArray[np.int64]]:
    """Cells of similar length together: all of a batch are cut to its shortest."""
    order = generator.permutation(len(lengths))
    order = order[np.argsort(np.minimum(lengths, settings.genes_per_cell)[order], kind="stable")]
    batches = np.split(order, range(settings.batch_size, len(order), settings.batch_size))
    return [batches[place] for place in generator.permutation(len(batches))]
