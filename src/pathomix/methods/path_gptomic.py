"""Path-GPTomic: genomics and image under one Cox head, trained with modulated gradients (arXiv 2403.11375)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from pathomix.cohort.cases import Cases
from pathomix.core.errors import PathomixError
from pathomix.core.fitting import note_fitted
from pathomix.core.parameters import filled
from pathomix.core.seeding import seeded
from pathomix.core.seeds import derived_seed
from pathomix.methods.base import Model, Task
from pathomix.methods.path_gptomic_inputs import Inputs, Reader
from pathomix.methods.path_gptomic_settings import PathGPTomicSettings
from pathomix.methods.path_gptomic_training import Part, Training, scores_of
from pathomix.methods.per_task import PerTaskMethod, outcome, require_outcome, risk_frame
from pathomix.nn.path_gptomic import CoxHead, GenomicBranch, PathGPTomicNetwork, RegionBranch, VectorBranch
from pathomix.nn.pathomic_fusion import GatedBilinearFusion, PooledTiles
from pathomix.training.precision import choose_device

_PREDICTED_AT_ONCE = 32


@dataclass(frozen=True, kw_only=True)
class Settings(PathGPTomicSettings):
    """Parameters of the row, see `PathGPTomicSettings`."""


@dataclass(frozen=True)
class PathGPTomicModel:
    """A trained network with its reader."""

    reader: Reader
    network: PathGPTomicNetwork
    record: pd.DataFrame

    def predict(self, cases: Cases) -> pd.DataFrame:
        """Log hazards of the patients who have what is read: means over crops, then over regions."""
        index = self.reader.available(cases)
        frames = []
        for start in range(0, len(index), _PREDICTED_AT_ONCE):
            inputs = self.reader.read(cases.subset(index[start : start + _PREDICTED_AT_ONCE]))
            frames.append(risk_frame(scores_of(self.network, inputs)[:, 0], inputs.index))
        return pd.concat(frames) if frames else risk_frame(np.zeros(0), index)

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Statistics, and network parameters under their own names."""
        weights = {f"network.{name}": value.cpu().numpy() for name, value in self.network.state_dict().items()}
        return {**self.reader.state(), **weights}

    def history(self) -> pd.DataFrame:
        """Rows of two kinds: one per step, and one per epoch after its steps; `level` says which.

        Steps: ratio rho^G, difference D, both coefficients and why they are 1 (`status`), Cox losses of theta, u^G and
        u^P, norms of W^G and W^P, batches skipped so far. Epochs: mean loss, batches skipped, c-indices of theta, u^G
        and u^P on the training and the valid part; `step` is the number of steps taken.
        """
        return self.record


class PathGPTomic(PerTaskMethod):
    """Survival only."""

    name = "path_gptomic"

    def __init__(self, **parameters: Any) -> None:
        self.settings = filled(Settings, parameters, self.name)
        self.joins_valid = self.settings.selection == "last"

    def fit(self, train: Cases, valid: Cases, *, tasks: Sequence[Task], seed: int) -> Model:
        """See `methods.base.Method.fit`.

        Raises:
            PathomixError: A task is not survival, or the training part cannot carry it.
        """
        other = [task for task in tasks if task != "survival"]
        if other:
            raise PathomixError(
                f"path_gptomic has no head for {', '.join(other)}", remedy="list it in studies whose task is survival"
            )
        return super().fit(train, valid, tasks=tasks, seed=seed)

    def fit_task(self, train: Cases, valid: Cases, task: Task, seed: int) -> PathGPTomicModel:
        """Read, fix all statistics on the training patients, train."""
        device = choose_device(self.settings.device)
        reader, inputs = Reader.fit(train, self.settings, device)
        part = train.subset(inputs.index)
        require_outcome(part, task)
        held = valid.subset(reader.available(valid))
        if self.settings.selection == "valid" and not len(held.ids):
            raise PathomixError(
                f"no valid patient has {self.settings.modalities}, so no epoch can be selected",
                remedy="set `selection: last`, or a scheme with a valid part",
            )
        measured = Part(reader.read(held), *outcome(held))
        note_fitted("sampler", part.ids)
        if self.settings.selection == "valid":
            note_fitted("selection", held.ids)
        devices = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices), seeded(derived_seed(seed, self.name, task)):
            network = self.build(reader, inputs, part).to(device)
            record = Training(self.settings, network, Part(inputs, *outcome(part)), measured, seed).run()
        return PathGPTomicModel(reader, network, record)

    def build(self, reader: Reader, inputs: Inputs, part: Cases) -> PathGPTomicNetwork:
        """The network before any training."""
        own = self.settings
        genomic = None
        if own.genomic:
            genomic = GenomicBranch(inputs.alterations.shape[1], inputs.vectors.shape[1], own.genomic_sizes)
        image = self._image(reader, part)
        width = 0 if genomic is None else genomic.width
        image_width = 0 if image is None else own.image_width
        fusion = None
        if own.fusion == "kronecker":
            fusion = GatedBilinearFusion(
                image_width, width, hidden=own.fused_width, out=own.fused_width, gate_image=own.gate_image,
                gate_omic=own.gate_omic, skip=own.skip, dropout=own.dropout,
            )  # fmt: skip
        head = CoxHead(width, image_width, own.head_bias, own.head_output, fusion, own.fused_width)
        return PathGPTomicNetwork(genomic, image, head)

    def _image(self, reader: Reader, part: Cases) -> nn.Module | None:
        own = self.settings
        if own.image == "tiles":
            assert part.tiles is not None
            return PooledTiles(
                part.tiles.dim, own.image_width, width=own.tile_width, attention=own.attention, dropout=own.dropout,
                last_dropout=own.image_dropout,
            )  # fmt: skip
        if own.image == "slide_vector":
            assert reader.image_vectors is not None
            return VectorBranch(len(reader.image_vectors.columns), own.image_width, own.image_dropout)
        if own.image == "regions":
            encoder = own.region_encoder
            return RegionBranch(
                encoder.build(), encoder.width, own.image_width, own.image_dropout, own.precision == "bf16"
            )
        return None
