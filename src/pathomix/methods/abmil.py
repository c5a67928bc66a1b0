"""ABMIL: gated attention over the tiles of a patient."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from pathomix.cohort.cases import Cases
from pathomix.core.errors import PathomixError
from pathomix.methods.base import Task
from pathomix.methods.heads import SURVIVAL_LOSSES, Head, build_head
from pathomix.methods.parameters import choice, filled
from pathomix.methods.per_task import PerTaskMethod, strata
from pathomix.nn.abmil import ABMIL
from pathomix.training.loop import Epoch, Recipe, optimise
from pathomix.training.seeding import derived_seed, seeded

_PREDICTED_AT_ONCE = 32


@dataclass(frozen=True)
class Settings:
    """Parameters of the row.

    Attributes:
        width: Tile embedding width.
        attention: Width of the attention layer.
        pooled: Width after pooling.
        dropout: Dropout probability.
        max_tiles: Tiles read per patient; of a larger bag, evenly spaced ones (the same for every seed and fold).
        survival_loss: pf, paper, event_mean (Cox) or nll (discrete hazards).
        bins: Time intervals of nll.
        alpha: Weight of nll that takes censored terms out.
        selection: ``last``: valid joined to train, last epoch. ``valid``: the epoch selected on the valid part.
        patience: Epochs without a better valid score before stopping.
        epochs: Passes over the training patients.
        constant_epochs: Of these, before the linear decay of the learning rate.
        batch_size: Patients per step; for Cox also the largest risk set.
        learning_rate: Of Adam.
        l2: Coupled weight decay.
    """

    width: int = 128
    attention: int = 64
    pooled: int = 64
    dropout: float = 0.25
    max_tiles: int = 1024
    survival_loss: str = "event_mean"
    bins: int = 4
    alpha: float = 0.0
    selection: str = "last"
    patience: int = 8
    epochs: int = 20
    constant_epochs: int = 0
    batch_size: int = 32
    learning_rate: float = 1e-3
    l2: float = 1e-4

    def __post_init__(self) -> None:
        choice(self.selection, ("last", "valid"), "selection")
        choice(self.survival_loss, SURVIVAL_LOSSES, "survival_loss")
        if self.max_tiles < 1:
            raise PathomixError(f"abmil: max_tiles is {self.max_tiles}", remedy="set it to at least 1")

    @property
    def recipe(self) -> Recipe:
        """Optimisation settings."""
        patience = self.patience if self.selection == "valid" else None
        return Recipe(
            self.epochs, self.batch_size, self.learning_rate, self.constant_epochs, l2=self.l2, patience=patience
        )


class Bags:
    """Bags of some patients in memory, as float16 (the precision they are stored in), concatenated per batch.

    Args:
        cases: Patients with tiles.
        max_tiles: Largest bag kept.
    """

    def __init__(self, cases: Cases, max_tiles: int) -> None:
        self.index = with_tiles(cases)
        self.features = [_features(cases, patient, max_tiles) for patient in self.index]

    def batch(self, rows: NDArray[np.int64], mean: Tensor, sd: Tensor) -> tuple[Tensor, Tensor]:
        """Standardised tiles [t, dim] of these patients and the bag number [t] of each tile."""
        chosen = [self.features[row] for row in rows]
        sizes = torch.tensor([len(bag) for bag in chosen])
        return (torch.cat(chosen).float() - mean) / sd, torch.repeat_interleave(torch.arange(len(chosen)), sizes)

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation [dim] over patients' tiles, every patient with the same weight."""
        means = torch.stack([bag.double().mean(dim=0) for bag in self.features])
        squares = torch.stack([bag.double().square().mean(dim=0) for bag in self.features])
        mean = means.mean(dim=0)
        sd = (squares.mean(dim=0) - mean.square()).clamp(min=0).sqrt()
        return mean.float(), torch.where(sd > 1e-6, sd, 1.0).float()


def with_tiles(cases: Cases) -> pd.Index:
    """Patients of `cases` with at least one embedded slide, in table order."""
    return cases.ids[cases.ids.isin(cases.tiles.patient_ids)] if cases.tiles is not None else cases.ids[:0]


def _features(cases: Cases, patient: str, max_tiles: int) -> Tensor:
    assert cases.tiles is not None
    features = cases.tiles.bag(patient).features
    if len(features) > max_tiles:
        features = features[np.linspace(0, len(features) - 1, max_tiles).round().astype(np.int64)]
    return torch.from_numpy(features.astype(np.float16))


@dataclass(frozen=True)
class BagModel:
    """A trained network with its tile statistics and head."""

    network: ABMIL
    mean: Tensor
    sd: Tensor
    head: Head
    max_tiles: int
    epochs: list[Epoch]

    def outputs(self, bags: Bags) -> Tensor:
        """Network outputs [patients, outputs], a few patients at a time."""
        rows = np.arange(len(bags.index))
        parts = [rows[start : start + _PREDICTED_AT_ONCE] for start in range(0, len(rows), _PREDICTED_AT_ONCE)]
        with torch.no_grad():
            done = [self.network(*bags.batch(part, self.mean, self.sd), len(part)).logits for part in parts]
        return torch.cat(done) if done else torch.zeros(0, self.head.outputs)

    def predict(self, cases: Cases) -> pd.DataFrame:
        """Predictions for patients with tiles, read batch by batch so that memory does not grow with the cohort."""
        index = with_tiles(cases)
        frames = [
            self.head.frame(self.outputs(bags), bags.index)
            for start in range(0, len(index), _PREDICTED_AT_ONCE)
            for bags in [Bags(cases.subset(index[start : start + _PREDICTED_AT_ONCE]), self.max_tiles)]
        ]
        return pd.concat(frames) if frames else self.head.frame(torch.zeros(0, self.head.outputs), index)

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Tile statistics and network parameters under their own names."""
        weights = {f"network.{name}": value.numpy() for name, value in self.network.state_dict().items()}
        return {"mean": self.mean.numpy(), "sd": self.sd.numpy(), **weights}

    def history(self) -> pd.DataFrame:
        """One row per epoch."""
        return pd.DataFrame([asdict(epoch) for epoch in self.epochs])


class ABMILMethod(PerTaskMethod):
    """Tile features standardised on the training patients, then embedded, attended to and pooled."""

    def __init__(self, **parameters: Any) -> None:
        self.settings = filled(Settings, parameters, "abmil")
        self.joins_valid = self.settings.selection == "last"

    def fit_task(self, train: Cases, valid: Cases, task: Task, seed: int) -> BagModel:
        """Read the bags, train, select."""
        settings = self.settings
        part = train.subset(with_tiles(train))
        if part.tiles is None or not len(part.ids):
            raise PathomixError("no training patient has tile features", remedy="leave abmil out for this cohort")
        bags = Bags(part, settings.max_tiles)
        held = Bags(valid, settings.max_tiles)
        if settings.selection == "valid" and not len(held.index):
            raise PathomixError(
                "no valid patient has tile features, so no epoch can be selected",
                remedy="set `selection: last`, or a scheme with a valid part",
            )
        head = build_head(part, task, settings.survival_loss, settings.bins, settings.alpha)
        mean, sd = bags.moments()
        with seeded(derived_seed(seed, "abmil", task)):
            network = ABMIL(
                part.tiles.dim, settings.width, settings.attention, settings.pooled, head.outputs,
                dropout=settings.dropout,
            )  # fmt: skip
            model = BagModel(network, mean, sd, head, settings.max_tiles, [])

            def loss(rows: NDArray[np.int64]) -> Tensor | None:
                return head.loss(network(*bags.batch(rows, mean, sd), len(rows)).logits, rows)

            def score() -> float:
                return head.score(model.outputs(held), valid.subset(held.index))

            seed_of_batches = derived_seed(seed, "batches", task)
            model.epochs.extend(optimise(network, loss, strata(part, task), settings.recipe, seed_of_batches, score))
        return model
