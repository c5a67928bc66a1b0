"""How cells are mixed and how the smoother is trained: every point the paper leaves open is one switch."""

from __future__ import annotations

from dataclasses import dataclass

from pathomix.core.errors import PathomixError
from pathomix.core.parameters import choice

SPACES = ("counts", "cp10k", "log1p", "binned")
SAMPLINGS = ("uniform", "class_balanced")
MODES = ("pool", "online")
STORAGES = ("float16", "float32")
LOSSES = ("mse", "mse_softmax", "soft_ce")
ACTIVATIONS = ("relu", "gelu", "elu")


@dataclass(frozen=True)
class MixingSettings:
    """Mixtures of atlas cells (spec path_gptomic 2.1, 2.2, 2.4).

    Attributes:
        pairs: Training mixtures: of the pool, or of each epoch (``online``).
        valid_pairs: Held-out mixtures, of cells of held-out donors alone.
        pure_cells: Cells of each part that are embedded unmixed (all, where there are fewer); held-out mixtures are
            of these cells, so that both ends of each are known.
        space: What is averaged: ``counts``; ``cp10k``, counts per 10,000, so that a weight means what it says
            whatever the depth of the cells; ``log1p`` of these, a geometric mean, which bulk tissue is not;
            ``binned``, bins of each cell. The last two are for fidelity.
        n_mix: Cells of a mixture; weights are Dirichlet(1, ..., 1), which for two is U(0, 1).
        sampling: Cells are drawn uniformly (``uniform``), or first the class and then one of its cells
            (``class_balanced``). The same cell or class may be drawn twice.
        mode: ``pool``: mixtures are drawn and embedded once; ``online``: drawn anew in each epoch, as in the paper.
        storage: Number format of the stored embeddings.
        block_size: Profiles embedded and stored at a time; an interrupted job goes on with the next block.
        seed: Of all draws; each mixture has its own stream, keyed by its number.
    """

    pairs: int = 200_000
    valid_pairs: int = 20_000
    pure_cells: int = 10_000
    space: str = "cp10k"
    n_mix: int = 2
    sampling: str = "uniform"
    mode: str = "pool"
    storage: str = "float16"
    block_size: int = 4096
    seed: int = 0

    def __post_init__(self) -> None:
        choice(self.space, SPACES, "space")
        choice(self.sampling, SAMPLINGS, "sampling")
        choice(self.mode, MODES, "mode")
        choice(self.storage, STORAGES, "storage")
        _refuse_small(self, {"pairs": 1, "valid_pairs": 1, "pure_cells": 1, "n_mix": 2, "block_size": 1, "seed": 0})


@dataclass(frozen=True)
class TrainingSettings:
    """The perceptron (MLP-A) and its training (spec path_gptomic 1.1, 2.3, 2.4).

    Attributes:
        loss: ``mse`` between the raw output and the composition; ``mse_softmax``, the same after a softmax;
            ``soft_ce``, cross-entropy with the composition.
        hidden: Width of the two hidden layers.
        out_dim: Width of the smoothed vector.
        activation: ``relu``, ``gelu`` or ``elu``.
        dropout: Probability while training.
        standardise: Whether the perceptron's inputs are z-scored by the mean and deviation of the training mixtures.
            The paper does not say; unit vectors that differ little from each other hardly train without.
        epochs: Passes over the pool at most.
        batch_size: Mixtures per step (32 in the paper; 256 is meant for the pool).
        learning_rate: Of AdamW at the first step; a cosine takes it to 0 over all epochs.
        weight_decay: Of AdamW.
        patience: Epochs without a lower loss on held-out mixtures before stopping; the best epoch is kept.
        clip: Largest norm of the gradient.
        seed: Of initial weights, order and dropout.
    """

    loss: str = "mse"
    hidden: int = 128
    out_dim: int = 128
    activation: str = "relu"
    dropout: float = 0.1
    standardise: bool = True
    epochs: int = 20
    batch_size: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    patience: int = 3
    clip: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        choice(self.loss, LOSSES, "loss")
        choice(self.activation, ACTIVATIONS, "activation")
        least = {"hidden": 1, "out_dim": 1, "epochs": 1, "batch_size": 1, "weight_decay": 0, "patience": 1, "seed": 0}
        _refuse_small(self, least)
        wrong = [name for name in ("learning_rate", "clip") if getattr(self, name) <= 0]
        if not 0 <= self.dropout < 1:
            wrong.append("dropout")
        if wrong:
            raise PathomixError(
                "smoothing: numbers are out of range",
                offending=wrong,
                remedy="learning_rate and clip are above 0, dropout is at least 0 and below 1",
            )


def _refuse_small(settings: object, least: dict[str, int]) -> None:
    small = [name for name, value in least.items() if getattr(settings, name) < value]
    if small:
        raise PathomixError("smoothing: numbers are too small", offending=small, remedy=f"smallest values are {least}")
