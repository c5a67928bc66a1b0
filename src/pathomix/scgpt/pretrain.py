"""A short pretraining on single cells: hidden bins are told from those that are seen (spec scgpt 2 and 3.1)."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pathomix.core.errors import PathomixError
from pathomix.scgpt.heads import Heads
from pathomix.scgpt.model import ScGPT
from pathomix.scgpt.tokens import KeyedDraws, Tokens

log = logging.getLogger(__name__)

MASK_VALUE = -1.0
"""Value of a gene whose bin is hidden (`mask_value` of the released models)."""

MASK_RATIOS = (0.25, 0.5, 0.75)
"""Shares of a cell's genes that are hidden, one of them per batch (`mask_ratio` of the released models)."""


@dataclass(frozen=True)
class PretrainingSettings:
    """How a model is trained.

    Attributes:
        epochs: Passes over the cells.
        genes_per_cell: Genes of a cell that are read in one pass, drawn anew in each; of cells with fewer, all.
        learning_rate: Of AdamW at the first step; a cosine takes it to 0 over all epochs.
        batch_size: Cells per step.
        n_bins: Bins including 0.
        seed: Of genes, masks and order; each cell has its own stream, keyed by its id.
    """

    epochs: int
    genes_per_cell: int = 128
    learning_rate: float = 1e-3
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
    """Mean squared errors of one pass, of hidden bins divided by the highest bin.

    Attributes:
        gene: Read off the states of the hidden genes.
        cell: Read off the cell embedding.
    """

    gene: float
    cell: float


def masked(cells: Sequence[Tokens], ids: Sequence[str], ratio: float, size: int, seed: int, epoch: int) -> Masked:
    """Random genes of each cell, some of them with their bins hidden.

    Args:
        cells: Tokens of cells, ``<cls>`` first; either all or none have more than `size` genes, and if none, all have
            equally many.
        ids: Of the cells.
        ratio: Share of the genes whose bins are hidden: at least one, and at least one is seen.
        size: Most genes of a cell.
        seed: Of the draws.
        epoch: Number of the pass; each draws anew.
    """
    genes, values = [], []
    for cell, name in zip(cells, ids, strict=True):
        # In random order, so that the first ones are a random part of the subset, too.
        places = 1 + KeyedDraws(seed, f"pretraining\0{name}", epoch).subset(cell.genes[1:], size)
        genes.append(np.concatenate([cell.genes[:1], cell.genes[places]]))
        values.append(np.concatenate([cell.values[:1], cell.values[places]]))
    seen = torch.from_numpy(np.stack(values))
    hidden = min(max(round(ratio * (seen.shape[1] - 1)), 1), seen.shape[1] - 2)
    truth = seen[:, 1 : 1 + hidden].clone()
    seen[:, 1 : 1 + hidden] = MASK_VALUE
    return Masked(torch.from_numpy(np.stack(genes)), seen, truth)


def hidden_bins(model: ScGPT, heads: Heads, batch: Masked) -> tuple[Tensor, Tensor]:
    """Hidden bins divided by the highest bin [B, hidden], read off each gene's state, and off the cell embedding."""
    states = model(batch.genes, batch.values)
    span = slice(1, 1 + batch.hidden.shape[1])
    terms = model.encoder(batch.genes[:, span])
    return heads.expression(states[:, span]), heads.expression_by_cell(states[:, 0], terms)


def pretrain(model: ScGPT, heads: Heads, cells: Mapping[str, Tokens], settings: PretrainingSettings) -> list[EpochLoss]:
    """Train model and heads in place to tell hidden bins from seen ones.

    The loss is the sum of two mean squared errors, of what the expression decoder reads off each hidden gene's state
    and of what the inner-product decoder reads off the cell embedding. Attention is not restricted as in the official
    pretraining (no generation part).

    Args:
        model: Left in evaluation mode.
        heads: Of its width; their outputs are bins divided by the highest bin, which a short training reaches sooner.
        cells: Tokens by id of the cell, ``<cls>`` first; cells with fewer than two genes teach nothing and are left
            out.
        settings: How.

    Returns:
        Mean losses of the epochs.

    Raises:
        PathomixError: No cell has two genes, or the loss is not finite; the step is named.
    """
    usable = {name: tokens for name, tokens in cells.items() if len(tokens.genes) > 2}
    if not usable:
        raise PathomixError("no cell has two genes to read", remedy="check the gene names and `min_expression`")
    names, history = list(usable), []
    lengths = np.array([min(len(tokens.genes) - 1, settings.genes_per_cell) for tokens in usable.values()])
    parameters = [*model.parameters(), *heads.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=settings.learning_rate)
    generator = np.random.default_rng([settings.seed, 0])
    steps = 0
    with torch.random.fork_rng(devices=[]):
        # Dropout, where the model has any, is all that draws from it.
        torch.manual_seed(settings.seed)
        model.train()
        for epoch in range(settings.epochs):
            order = _batches(lengths, settings.batch_size, generator)
            total, hidden = np.zeros(2), 0
            for step, rows in enumerate(order):
                rate = (
                    settings.learning_rate * (1 + math.cos(math.pi * (epoch + step / len(order)) / settings.epochs)) / 2
                )
                ids = [names[row] for row in rows]
                ratio = float(generator.choice(MASK_RATIOS))
                size = int(lengths[rows].min())
                batch = masked([usable[name] for name in ids], ids, ratio, size, settings.seed, epoch)
                target = batch.hidden / (settings.n_bins - 1)
                by_gene, by_cell = (F.mse_loss(found, target) for found in hidden_bins(model, heads, batch))
                loss = by_gene + by_cell
                if not torch.isfinite(loss):
                    raise PathomixError(
                        f"pretraining: the loss is not finite in step {step} of epoch {epoch}",
                        remedy="lower the learning rate",
                    )
                for group in optimiser.param_groups:
                    group["lr"] = rate
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(parameters, 1.0)
                optimiser.step()
                total += np.array([by_gene.item(), by_cell.item()]) * len(rows)
            history.append(EpochLoss(*(total / len(names))))
    model.eval()
    return history


def _batches(lengths, size, generator):
    """Rows of similar length."""
    order = generator.permutation(len(lengths))
    order = order[np.argsort(lengths[order], kind="stable")]
    batches = [order[start : start + size] for start in range(0, len(order), size)]
    generator.shuffle(batches)
    return batches


def random_heads(width, seed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1)
        return Heads(width)
