"""Training of Path-GPTomic: Cox loss within the batch, modulated steps, and the record of both."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pathomix.core.errors import PathomixError
from pathomix.core.seeds import derived_seed
from pathomix.losses.cox import cox_loss
from pathomix.methods.path_gptomic_inputs import Inputs
from pathomix.methods.path_gptomic_regions import RegionRows
from pathomix.methods.path_gptomic_settings import PathGPTomicSettings
from pathomix.nn.path_gptomic import PathGPTomicNetwork, Scores
from pathomix.survival.concordance import harrell_c
from pathomix.training.batches import batches, event_batches
from pathomix.training.loop import Hooks, optimise
from pathomix.training.modulation import MODALITY, Modulation, modulated_step

# Spec path_gptomic 5: step size of a pretrained T2T-ViT.
_PRETRAINED_RATE = 2e-5
_SCORES = ("log_hazard", "genomic", "image")
_GENOMIC, _IMAGE = "genomic", "image"


class Part:
    """Patients with their outcome.

    Args:
        inputs: What is read of them.
        time: [n], months.
        event: [n], 1 = happened.
    """

    def __init__(self, inputs: Inputs, time: NDArray[np.float64], event: NDArray[np.int64]) -> None:
        self.inputs, self.time, self.event = inputs, time, event

    def concordance(self, network: PathGPTomicNetwork, name: str) -> dict[str, float]:
        """Harrell's c of theta, u^G and u^P as ``c_<score>_<name>``; NaN for a score that is not there.

        Raises:
            PathomixError: A score is not finite.
        """
        values = scores_of(network, self.inputs)
        measured = {}
        for column, score in zip(_SCORES, values.T, strict=True):
            there = len(score) and not np.isnan(score).all()
            measured[f"c_{column}_{name}"] = harrell_c(self.time, self.event, score) if there else math.nan
        return measured


@torch.no_grad()
def scores_of(network: PathGPTomicNetwork, inputs: Inputs) -> NDArray[np.float64]:
    """theta, u^G and u^P [n, 3] of all patients, means over their images; NaN for a score that is not there.

    Raises:
        PathomixError: theta is not finite.
    """
    rows = np.arange(len(inputs.index))
    total = torch.zeros(len(rows), len(_SCORES), dtype=torch.float64)
    for view in inputs.image.views(rows):
        scores: Scores = network(*inputs.genomic(view.place), *view.arguments)
        theta = scores.log_hazard
        parts = [theta if part is None else part for part in scores]
        values = torch.stack(parts, dim=1).double().cpu()
        for column, part in enumerate(scores):
            if part is None:
                values[:, column] = math.nan
        total.index_add_(0, view.place, values * view.weight[:, None].double())
    if not bool(torch.isfinite(total[:, 0]).all()):
        raise PathomixError(
            "path_gptomic: the log hazards of the trained network are not finite", remedy="lower `learning_rate`"
        )
    return total.numpy()


class Training:
    """One training run.

    Args:
        settings: Of the method.
        network: Trained in place.
        train: Patients to train on.
        held: Patients to measure on; may be empty.
        seed: Of the run.
    """

    def __init__(
        self, settings: PathGPTomicSettings, network: PathGPTomicNetwork, train: Part, held: Part, seed: int
    ) -> None:
        self.settings, self.network, self.train, self.held, self.seed = settings, network, train, held, seed
        self.modulation = Modulation(settings.modulation_settings)
        self.noise = torch.Generator().manual_seed(derived_seed(seed, "path_gptomic", "noise"))
        self.patient, self.region = self._rows()
        self.time, self.event = torch.from_numpy(train.time), torch.from_numpy(train.event)
        self.steps: list[dict[str, Any]] = []
        self.epochs: list[dict[str, Any]] = []
        self.skipped = 0
        self._epoch = 0
        self._drawn = np.random.default_rng(0)
        self._scores: tuple[Scores, Tensor, Tensor, float] | None = None

    def _rows(self) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
        """Patient of each row, and its region where rows are regions."""
        image = self.train.inputs.image
        patients = np.arange(len(self.train.inputs.index))
        if self.settings.value("unit") == "patient" or not isinstance(image, RegionRows):
            return patients, None
        counts = image.counts()
        return np.repeat(patients, counts), np.concatenate([np.arange(count) for count in counts])

    def run(self) -> pd.DataFrame:
        """Train; the history."""
        settings = self.settings
        hooks = Hooks(parameter_groups(self.network, settings), self.order, self.step, self.measure)
        event = self.train.event[self.patient]
        seed = derived_seed(self.seed, "batches", "path_gptomic")
        done = optimise(self.network, self.loss, event, settings.recipe, seed, self._score, hooks)
        for row, epoch in zip(self.epochs, done, strict=True):
            row |= {"loss": epoch.loss, "score": epoch.score, "skipped": epoch.skipped}
        return pd.DataFrame([*self.steps, *self.epochs])

    def order(self, epoch: int, generator: np.random.Generator) -> Iterator[NDArray[np.int64]]:
        """Rows of the batches of an epoch."""
        self._epoch = epoch
        self._drawn = np.random.default_rng(derived_seed(self.seed, "path_gptomic", "images", epoch))
        event, size = self.train.event[self.patient], self.settings.batch_size
        least = self.settings.value("min_events")
        if least:
            return event_batches(event, size, least, generator)
        return batches(np.zeros_like(event), size, generator)

    def loss(self, rows: NDArray[np.int64]) -> Tensor | None:
        """Cox loss of these rows; None without an event among them."""
        patients = self.patient[rows]
        time, event = self.time[patients], self.event[patients]
        if not bool(event.any()):
            self.skipped += 1
            return None
        inputs = self.train.inputs
        regions = None if self.region is None else self.region[rows]
        image = inputs.image.training(patients, regions, self._drawn)
        scores = self.network(*inputs.genomic(torch.from_numpy(patients)), *image)
        self._refuse_blow_up(scores)
        value = cox_loss(scores.log_hazard.cpu(), time, event, self.settings.value("survival_loss"), self.settings.ties)
        self._scores = scores, time, event, value.item()
        return value

    def _refuse_blow_up(self, scores: Scores) -> None:
        names = [name for name, score in zip(_SCORES, scores, strict=True)
                 if score is not None and not bool(torch.isfinite(score).all())]  # fmt: skip
        if names:
            raise PathomixError(
                f"path_gptomic: training blew up in epoch {self._epoch}, step {len(self.steps)}: scores are not finite",
                offending=names,
                remedy="lower `learning_rate` or set `clip` for the z-scores",
            )

    def step(self, optimiser: torch.optim.Optimizer) -> None:
        """Coefficients of this batch, the step, and its row of the history."""
        assert self._scores is not None
        scores, time, event, loss = self._scores
        settings = self.modulation.settings
        first, second = self.network.head.norms()
        row: dict[str, Any] = {
            "step": len(self.steps), "epoch": self._epoch, "level": "step", "loss": loss,
            "norm_genomic": first, "norm_image": second, "skipped": self.skipped,
        }  # fmt: skip
        for name, score in zip(_SCORES[1:], scores[1:], strict=True):
            alone = math.nan if score is None else cox_loss(score.detach().cpu(), time, event, "event_mean").item()
            row[f"loss_{name}"] = alone
        if settings.mode == "none":
            optimiser.step()
        else:
            assert scores.genomic is not None
            assert scores.image is not None
            found = self.modulation.coefficients(scores.genomic, scores.image, time, event, self._epoch)
            noise = self.noise if settings.ge_noise else None
            modulated_step(optimiser, {_GENOMIC: found.genomic, _IMAGE: found.image}, settings.apply, noise)
            row |= {
                "ratio": found.ratio, "difference": found.difference, "k_genomic": found.genomic,
                "k_image": found.image, "status": found.status,
            }  # fmt: skip
        self.steps.append(row)

    def measure(self, epoch: int) -> None:
        """The epoch's row of the history, with the c-indices where they are due."""
        settings = self.settings
        due = settings.selection == "valid" or (epoch + 1) % settings.measured_every == 0
        row: dict[str, Any] = {"step": len(self.steps), "epoch": epoch, "level": "epoch"}
        if due or epoch + 1 == settings.epochs:
            row |= self.train.concordance(self.network, "train") | self.held.concordance(self.network, "valid")
        self.epochs.append(row)

    def _score(self) -> float:
        return float(self.epochs[-1]["c_log_hazard_valid"])


def parameter_groups(network: PathGPTomicNetwork, settings: PathGPTomicSettings) -> list[dict[str, Any]]:
    """Parameters by their coefficient (section 4.5) and learning rate; what is frozen is in none."""
    genomic = network.genomic
    slowed = genomic.mlp_b if genomic is not None and settings.modulated_genomic == "mlp_b" else genomic
    modalities = {**_named(slowed, _GENOMIC), **_named(network.image, _IMAGE)}
    encoder = {id(p) for p in getattr(network.image, "encoder", nn.Identity()).parameters()}
    rate = settings.encoder_learning_rate
    if rate is None and settings.image == "regions" and settings.region_encoder.weights:
        rate = _PRETRAINED_RATE
    groups: dict[tuple[str, bool], list[nn.Parameter]] = {}
    for parameter in network.parameters():
        if parameter.requires_grad:
            whole = settings.modulated_tensors == "all" or parameter.ndim >= 2
            key = modalities.get(id(parameter), "") if whole else "", id(parameter) in encoder and rate is not None
            groups.setdefault(key, []).append(parameter)
    return [
        {"params": members, MODALITY: modality, **({"lr": rate} if own_rate else {})}
        for (modality, own_rate), members in groups.items()
    ]


def _named(module: nn.Module | None, modality: str) -> dict[int, str]:
    return {} if module is None else {id(parameter): modality for parameter in module.parameters()}
