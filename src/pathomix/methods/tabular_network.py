"""Networks on feature blocks: what S-MLP and SNN share (design, head, training, prediction)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pathomix.cohort.cases import Cases
from pathomix.core.errors import PathomixError
from pathomix.methods.base import Task
from pathomix.methods.blocks import BLOCKS, Design
from pathomix.methods.heads import SURVIVAL_LOSSES, Head, build_head
from pathomix.methods.parameters import choice
from pathomix.methods.per_task import PerTaskMethod, strata
from pathomix.training.loop import Epoch, Recipe, optimise
from pathomix.training.seeding import derived_seed, seeded

SELECTIONS = ("last", "valid")
Forward = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class NetworkSettings:
    """Parameters common to the networks on feature blocks.

    Attributes:
        blocks: Feature blocks.
        clip: Largest absolute z-score (RNA z-scores of public tables have outliers in the thousands); None = unlimited.
        survival_loss: pf, paper, event_mean (Cox) or nll (discrete hazards).
        bins: Time intervals of nll.
        alpha: Weight of nll that takes censored terms out.
        selection: ``last``: the valid part is joined to the training part and the last epoch is the model.
            ``valid``: the epoch is selected on the valid part.
        patience: Epochs without a better valid score before stopping (`selection: valid`).
        epochs: Passes over the training patients.
        constant_epochs: Of these, before the linear decay of the learning rate.
        batch_size: Patients per step.
        learning_rate: Of Adam.
        l2: Coupled weight decay.
        l1: Weight of the sum of absolute parameter values.
        dropout: AlphaDropout probability.
    """

    blocks: tuple[str, ...]
    clip: float | None = 5.0
    survival_loss: str = "event_mean"
    bins: int = 4
    alpha: float = 0.0
    selection: str = "last"
    patience: int = 10
    epochs: int = 30
    constant_epochs: int = 0
    batch_size: int = 64
    learning_rate: float = 1e-3
    l2: float = 0.0
    l1: float = 0.0
    dropout: float = 0.25

    def __post_init__(self) -> None:
        for block in self.blocks:
            choice(block, BLOCKS, "blocks")
        choice(self.selection, SELECTIONS, "selection")
        choice(self.survival_loss, SURVIVAL_LOSSES, "survival_loss")

    @property
    def recipe(self) -> Recipe:
        """Optimisation settings."""
        return Recipe(
            epochs=self.epochs,
            constant_epochs=self.constant_epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            l2=self.l2,
            l1=self.l1,
            patience=self.patience if self.selection == "valid" else None,
        )


@dataclass(frozen=True)
class TabularModel:
    """A trained network with its design and head."""

    design: Design
    head: Head
    network: nn.Module
    forward: Forward
    epochs: list[Epoch]

    def predict(self, cases: Cases) -> pd.DataFrame:
        """Predictions for patients who have any of the blocks."""
        index, rows = self.design.rows(cases)
        with torch.no_grad():
            return self.head.frame(self.forward(torch.from_numpy(rows).float()), index)

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Design and network parameters under their own names."""
        weights = {f"network.{name}": value.numpy() for name, value in self.network.state_dict().items()}
        return {**self.design.state(), **weights}

    def history(self) -> pd.DataFrame:
        """One row per epoch."""
        return pd.DataFrame([asdict(epoch) for epoch in self.epochs])


class TabularNetwork(PerTaskMethod):
    """Fits a network on feature blocks; subclasses build it."""

    def __init__(self, settings: NetworkSettings) -> None:
        self.settings = settings
        self.joins_valid = settings.selection == "last"

    @abstractmethod
    def build(self, inputs: int, head: Head, task: Task) -> tuple[nn.Module, Forward]:
        """The network, and the function from rows [n, inputs] to outputs [n, head.outputs]."""

    def fit_task(self, train: Cases, valid: Cases, task: Task, seed: int) -> TabularModel:
        """Scale on the training patients, train, select."""
        settings = self.settings
        design, matrix = Design.fit(train, settings.blocks, settings.clip)
        part = train.subset(matrix.index)
        inputs = torch.from_numpy(design.scaled(matrix)).float()
        head = build_head(part, task, settings.survival_loss, settings.bins, settings.alpha)
        held, held_rows = design.rows(valid)
        if settings.selection == "valid" and not len(held):
            raise PathomixError(
                "no valid patient has the feature blocks, so no epoch can be selected",
                remedy="set `selection: last`, or a scheme with a valid part",
            )
        held_cases, held_inputs = valid.subset(held), torch.from_numpy(held_rows).float()
        with seeded(derived_seed(seed, type(self).__name__, task)):
            network, forward = self.build(inputs.shape[1], head, task)

            def score() -> float:
                with torch.no_grad():
                    return head.score(forward(held_inputs), held_cases)

            epochs = optimise(
                network,
                lambda rows: head.loss(forward(inputs[rows]), rows),
                strata(part, task),
                settings.recipe,
                derived_seed(seed, "batches", task),
                score,
            )
        return TabularModel(design, head, network, forward, epochs)
