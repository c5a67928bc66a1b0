"""Networks behind the contract: what they read of a patient, how they are trained, how they predict."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pathomix.cohort.cases import Cases
from pathomix.core.errors import PathomixError
from pathomix.core.fitting import note_fitted
from pathomix.core.seeding import seeded
from pathomix.core.seeds import derived_seed
from pathomix.methods.bags import Arrange, Bags, TileScaling, with_tiles
from pathomix.methods.base import Task
from pathomix.methods.heads import Head, build_head
from pathomix.methods.molecular import Molecular
from pathomix.methods.per_task import PerTaskMethod, strata
from pathomix.methods.training_settings import TrainingSettings
from pathomix.training.loop import Epoch, optimise

_PREDICTED_AT_ONCE = 32


class Batch(NamedTuple):
    """Some patients as the network reads them.

    Attributes:
        molecular: [n, p]; p = 0 for methods of images alone.
        tiles: Per patient float32 [t, dim], scaled where the method scales; empty for molecular methods.
        coords: Per patient int32 [t, 2].
    """

    molecular: Tensor
    tiles: tuple[Tensor, ...]
    coords: tuple[Tensor, ...]

    def joined(self) -> tuple[Tensor, Tensor, int]:
        """Tiles of all patients [t, dim], the number of each tile's patient [t], and the number of patients."""
        sizes = torch.tensor([len(bag) for bag in self.tiles], device=self.molecular.device)
        owner = torch.repeat_interleave(torch.arange(len(sizes), device=sizes.device), sizes)
        return torch.cat(self.tiles), owner, len(sizes)


Forward = Callable[[Batch], Tensor]


def by_size(batch: Batch, network: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
    """Outputs [n, k] of a network that reads patients with equally many tiles.

    Args:
        batch: Patients.
        network: From tiles [b, t, dim], coordinates [b, t, 2] and molecular vectors [b, p] to outputs [b, k].
    """
    counts = np.array([len(bag) for bag in batch.tiles])
    groups = [np.flatnonzero(counts == count) for count in np.unique(counts)]
    outputs = [
        network(
            torch.stack([batch.tiles[row] for row in rows]),
            torch.stack([batch.coords[row] for row in rows]),
            batch.molecular[torch.from_numpy(rows).to(batch.molecular.device)],
        )
        for rows in groups
    ]
    return torch.cat(outputs)[torch.from_numpy(np.argsort(np.concatenate(groups)))]


@dataclass(frozen=True)
class Inputs:
    """Some patients in memory."""

    index: pd.Index
    molecular: Tensor
    bags: Bags | None
    scaling: TileScaling | None
    device: torch.device

    def batch(self, rows: NDArray[np.int64]) -> Batch:
        """The patients at these positions, on the device."""
        molecular = self.molecular[torch.from_numpy(rows)].to(self.device)
        if self.bags is None:
            return Batch(molecular, (), ())
        features = (self.bags.features[row] for row in rows)
        tiles = tuple((self.scaling.scaled(bag) if self.scaling else bag.float()).to(self.device) for bag in features)
        return Batch(molecular, tiles, tuple(self.bags.coords[row].to(self.device) for row in rows))

    def stretches(self, rows: NDArray[np.int64], most: int) -> Iterator[NDArray[np.int64]]:
        """`rows` cut where the next patient would bring a stretch above `most` tiles."""
        if self.bags is None:
            yield rows
            return
        start, total = 0, 0
        for place, row in enumerate(rows):
            count = len(self.bags.features[row])
            if place > start and total + count > most:
                yield rows[start:place]
                start, total = place, 0
            total += count
        yield rows[start:]


@dataclass(frozen=True)
class Reader:
    """What a fitted network reads of a patient, with the statistics of its training patients.

    Attributes:
        molecular: None for images alone.
        arrange: How bags are read; None: tiles are not.
        scaling: None where tiles are not read, or read as they are.
        device: Where batches go.
    """

    molecular: Molecular | None
    arrange: Arrange | None
    scaling: TileScaling | None
    device: torch.device

    def read(self, cases: Cases) -> Inputs:
        """Those of the patients who have everything that is read, in table order."""
        part = cases.subset(with_tiles(cases)) if self.arrange else cases
        index, molecular = part.ids, torch.zeros(len(part.ids), 0)
        if self.molecular is not None:
            index, molecular = self.molecular.rows(part)
        if self.arrange is None:
            return Inputs(index, molecular, None, None, self.device)
        bags = Bags(part.subset(index), self.arrange)
        return Inputs(index[bags.rows], molecular[torch.from_numpy(bags.rows)], bags, self.scaling, self.device)

    def stretches(self, cases: Cases) -> Iterator[Cases]:
        """Patients to predict: all together, or a few at a time where tiles have to be kept in memory."""
        index = with_tiles(cases) if self.arrange else cases.ids
        size = _PREDICTED_AT_ONCE if self.arrange else max(len(index), 1)
        for start in range(0, len(index), size):
            yield cases.subset(index[start : start + size])

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Named arrays of all statistics."""
        molecular = self.molecular.state() if self.molecular else {}
        return {**molecular, **(self.scaling.state() if self.scaling else {})}


@dataclass(frozen=True)
class NetworkModel:
    """A trained network with its reader and head."""

    reader: Reader
    head: Head
    network: nn.Module
    forward: Forward
    epochs: list[Epoch]

    def outputs(self, inputs: Inputs) -> Tensor:
        """Network outputs [patients, outputs], a few patients at a time where there are tiles."""
        rows = np.arange(len(inputs.index))
        size = max(len(rows), 1) if inputs.bags is None else _PREDICTED_AT_ONCE
        with torch.no_grad():
            done = [self.forward(inputs.batch(rows[at : at + size])).cpu() for at in range(0, len(rows), size)]
        return torch.cat(done) if done else torch.zeros(0, self.head.outputs)

    def predict(self, cases: Cases) -> pd.DataFrame:
        """Predictions for patients who have what the network reads; memory does not grow with the cohort's tiles."""
        read = (self.reader.read(part) for part in self.reader.stretches(cases))
        frames = [self.head.frame(self.outputs(inputs), inputs.index) for inputs in read]
        return pd.concat(frames) if frames else self.head.frame(torch.zeros(0, self.head.outputs), cases.ids[:0])

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Statistics, and network parameters under their own names."""
        weights = {f"network.{name}": value.cpu().numpy() for name, value in self.network.state_dict().items()}
        return {**self.reader.state(), **weights}

    def history(self) -> pd.DataFrame:
        """One row per epoch."""
        return pd.DataFrame([asdict(epoch) for epoch in self.epochs])


class NetworkMethod(PerTaskMethod):
    """Fits a network; subclasses say what it reads and build it.

    Attributes:
        name: In messages and in the names of random streams.
        modality: What the network reads, for messages.
        tiles_at_once: Above this many tiles in a batch, its patients are computed in stretches whose intermediate
            results are computed again in the backward pass, so that memory does not grow with the batch.
        scales_tiles: Whether tile features are turned into z-scores of the training patients.
    """

    name: str
    modality: str
    tiles_at_once: int = 65536
    scales_tiles: bool = True

    def __init__(self, settings: TrainingSettings) -> None:
        self.settings = settings
        self.joins_valid = settings.selection == "last"

    @abstractmethod
    def build(self, reader: Reader, tile_dim: int, head: Head, task: Task) -> tuple[nn.Module, Forward]:
        """The network, and the function from a batch to outputs [n, head.outputs]."""

    def molecular(self, train: Cases) -> Molecular | None:
        """The reader of molecular vectors, fitted on the training patients; None: images alone."""
        return None

    def arrange(self, tile_dim: int) -> Arrange | None:
        """How bags with features of this width are read; None: tiles are not."""
        return None

    def head(self, part: Cases, task: Task) -> Head:
        """What the network is trained to say, fixed on the training patients that are read."""
        settings = self.settings
        return build_head(part, task, settings.survival_loss, settings.bins, settings.alpha)

    @property
    def device(self) -> torch.device:
        """Where the network is trained."""
        return torch.device("cpu")

    def fit_task(self, train: Cases, valid: Cases, task: Task, seed: int) -> NetworkModel:
        """Read, fix all statistics on the training patients, train, select."""
        settings = self.settings
        reader, inputs = self.read_training(train, seed)
        part = train.subset(inputs.index)
        head = self.head(part, task)
        held = reader.read(valid)
        if settings.selection == "valid" and not len(held.index):
            raise PathomixError(
                f"no valid patient has {self.modality}, so no epoch can be selected",
                remedy="set `selection: last`, or a scheme with a valid part",
            )
        held_cases = valid.subset(held.index)
        if settings.selection == "valid":
            note_fitted("selection", held_cases.ids)
        tile_dim = part.tiles.dim if part.tiles is not None else 0
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices), seeded(derived_seed(seed, self.name, task)):
            network, forward = self.build(reader, tile_dim, head, task)
            network.to(self.device)
            model = NetworkModel(reader, head, network, forward, [])

            def loss(rows: NDArray[np.int64]) -> Tensor | None:
                return head.loss(self.training_outputs(forward, inputs, rows), rows)

            model.epochs.extend(
                optimise(
                    network,
                    loss,
                    strata(part, task),
                    settings.recipe,
                    derived_seed(seed, "batches", task),
                    lambda: head.score(model.outputs(held), held_cases),
                )
            )
        return model

    def read_training(self, train: Cases, seed: int) -> tuple[Reader, Inputs]:
        """The reader with its statistics, and the training patients read with it (tiles read once).

        Args:
            train: Training patients.
            seed: Of the run, for statistics that are drawn.

        Raises:
            PathomixError: No training patient has what is read.
        """
        arrange = self.arrange(train.tiles.dim if train.tiles is not None else 0)
        part = train.subset(with_tiles(train)) if arrange else train
        if not len(part.ids):
            raise PathomixError(
                "no training patient has tile features", remedy=f"leave {self.name} out for this cohort"
            )
        reader = Reader(self.molecular(part), arrange, None, self.device)
        inputs = reader.read(part)
        if not len(inputs.index):
            raise PathomixError(
                f"no training patient has {self.modality} that can be read",
                remedy=f"see the warnings above, or leave {self.name} out for this cohort",
            )
        if inputs.bags is None or not self.scales_tiles:
            return reader, inputs
        scaling = inputs.bags.scaling()
        return replace(reader, scaling=scaling), replace(inputs, scaling=scaling)

    def training_outputs(self, forward: Forward, inputs: Inputs, rows: NDArray[np.int64]) -> Tensor:
        """Outputs of a batch of training patients, in stretches where it has many tiles."""
        stretches = list(inputs.stretches(rows, self.tiles_at_once))
        if len(stretches) == 1:
            return forward(inputs.batch(rows)).cpu()

        def outputs(stretch: NDArray[np.int64]) -> Tensor:
            return forward(inputs.batch(stretch)).cpu()

        return torch.cat([checkpoint(outputs, stretch, use_reentrant=False) for stretch in stretches])
