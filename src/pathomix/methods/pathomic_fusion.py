"""Pathomic Fusion: Kronecker fusion of an image vector and a genomic network (Path-GPTomic sections 8.1 and 8.2).

Three stages on the same patients: the genomic network and the image network, each with a head of its own, then the
fusion. Image vectors are those of the trained image network and stay as they are; the genomic network goes on from
where it was, at first frozen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pathomix.cohort.cases import Cases
from pathomix.core.errors import PathomixError
from pathomix.core.parameters import choice, filled
from pathomix.core.seeding import seeded
from pathomix.core.seeds import derived_seed
from pathomix.methods.bags import Arrange, thinned
from pathomix.methods.base import Task
from pathomix.methods.blocks import BLOCKS
from pathomix.methods.heads import Head
from pathomix.methods.network import Batch, Forward, Inputs, NetworkMethod, NetworkModel, Reader
from pathomix.methods.per_task import strata
from pathomix.methods.slide_network import TileSettings
from pathomix.methods.vector_and_blocks import SOURCES, VectorAndBlocks
from pathomix.nn.pathomic_fusion import GatedBilinearFusion, PathomicNet, PooledTiles, rectified
from pathomix.nn.snn import Activation, PathomicSNN, init_max
from pathomix.training.batches import batches
from pathomix.training.loop import Epoch, Hooks, Recipe, optimise
from pathomix.training.precision import choose_device

IMAGES = ("tiles", *SOURCES)
_READ = {"tiles": "tile features", "slide_vector": "slide vectors", "expression": "expression"}


@dataclass(frozen=True, kw_only=True)
class Settings(TileSettings):
    """Parameters of the row; the defaults are the published ones for GBMLGG (KIRC: `gate_image: false`).

    Those inherited (`epochs`, `learning_rate`, ...) are of the fusion; `l1` acts on the genomic network alone.

    Attributes:
        blocks: Feature blocks of the genomic network.
        image: ``tiles`` (attention-pooled tile features), ``slide_vector`` (of a representation), or, for cohorts
            without images, ``expression`` in its place (`blocks` then leave it out); projected to `image_width`.
        gate_image: Whether the image vector is gated.
        gate_omic: Whether the genomic vector is gated.
        skip: Whether both gated vectors are concatenated to the fused one.
        bilinear: Whether gates are bilinear, see `nn.pathomic_fusion.GatedBilinearFusion`.
        scale_image: Factor by which the gated image vector is narrower.
        scale_omic: The same of the genomic vector.
        hidden: Width of the layers after the product.
        omic_hidden: Widths of the genomic network.
        image_width: Width of the image vector.
        image_dropout: Dropout of the image vector while the image network is trained.
        tile_width: Tile embedding width.
        attention: Width of the attention layer over tiles.
        beta1: Decay of the first moment of adam and radam, in the fusion.
        frozen_epochs: Epochs of the fusion before the genomic network is trained further.
        omic_epochs: Of the genomic network by itself (as in the row `snn`), like the four below.
        omic_batch_size: Patients per step.
        omic_learning_rate: Of the optimiser.
        omic_l2: Coupled weight decay.
        omic_l1: Weight of the sum of absolute parameter values.
        image_epochs: Of the image network by itself (the published ones of the image CNN), like the three below.
        image_batch_size: Patients per step.
        image_learning_rate: Of the optimiser.
        image_l2: Coupled weight decay.
    """

    blocks: tuple[str, ...]
    image: str = "tiles"
    gate_image: bool = True
    gate_omic: bool = False
    skip: bool = False
    bilinear: bool = True
    scale_image: int = 1
    scale_omic: int = 1
    hidden: int = 64
    omic_hidden: tuple[int, ...] = (64, 48, 32, 32)
    image_width: int = 32
    image_dropout: float = 0.05
    tile_width: int = 128
    attention: int = 64
    max_tiles: int = 1024
    survival_loss: str = "pf"
    epochs: int = 30
    constant_epochs: int | None = 10
    batch_size: int = 32
    learning_rate: float = 1e-4
    beta1: float = 0.5
    l2: float = 4e-4
    l1: float = 3e-4
    frozen_epochs: int = 5
    omic_epochs: int = 50
    omic_batch_size: int = 64
    omic_learning_rate: float = 2e-3
    omic_l2: float = 5e-4
    omic_l1: float = 3e-4
    image_epochs: int = 50
    image_batch_size: int = 8
    image_learning_rate: float = 5e-4
    image_l2: float = 4e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        for block in self.blocks:
            choice(block, BLOCKS, "blocks")
        if self.image == "none":
            raise PathomixError(
                "pathomic_fusion: image is 'none', which leaves the genomic network alone",
                remedy=f"use the method `snn`, which is that network, or set image to one of {list(IMAGES)}",
            )
        choice(self.image, IMAGES, "image")
        if self.image in self.blocks:
            raise PathomixError(
                "pathomic_fusion: expression stands on both sides of the fusion",
                remedy="take `expression` out of `blocks`, or set `image: tiles`",
            )
        if self.selection != "last":
            raise PathomixError(
                f"pathomic_fusion: selection is {self.selection!r}; the published recipe keeps the last epoch",
                remedy="set `selection: last`",
            )
        wrong = [f"{name} is below 1" for name in _SIZES if getattr(self, name) < 1]
        wrong += [f"{name} is below 2" for name in ("omic_batch_size", "image_batch_size") if getattr(self, name) < 2]
        if not self.omic_hidden or min(self.omic_hidden) < 1:
            wrong.append("omic_hidden needs widths of at least 1")
        if not 0 <= self.frozen_epochs <= self.epochs:
            wrong.append("frozen_epochs is not between 0 and epochs")
        if not (0 <= self.beta1 < 1 and 0 <= self.image_dropout < 1):
            wrong.append("beta1 and image_dropout are at least 0 and below 1")
        if wrong:
            raise PathomixError(f"pathomic_fusion: {'; '.join(wrong)}", remedy="correct these keys")

    @property
    def omic_recipe(self) -> Recipe:
        """Training of the genomic network by itself."""
        return Recipe(
            self.omic_epochs, self.omic_batch_size, self.omic_learning_rate, l2=self.omic_l2, l1=self.omic_l1,
            optimiser=self.optimiser,
        )  # fmt: skip

    @property
    def image_recipe(self) -> Recipe:
        """Training of the image network by itself."""
        return Recipe(
            self.image_epochs, self.image_batch_size, self.image_learning_rate, l2=self.image_l2,
            optimiser=self.optimiser,
        )  # fmt: skip


_SIZES = (
    "hidden", "image_width", "tile_width", "attention", "scale_image", "scale_omic", "omic_epochs", "image_epochs",
)  # fmt: skip


@dataclass(frozen=True)
class StageEpoch(Epoch):
    """An epoch with the stage it belongs to: omic, image or fusion."""

    stage: str


class PathomicFusionNetwork(nn.Module):
    """All of it: image vector, its own head for the image stage, and the fusion network."""

    def __init__(self, settings: Settings, sizes: Sequence[int], tile_dim: int, outputs: int, act: Activation) -> None:
        super().__init__()
        self.given = sizes[0]
        width, own = settings.image_width, settings
        self.image = (
            rectified(self.given, width, own.image_dropout)
            if self.given
            else PooledTiles(
                tile_dim, width, width=own.tile_width, attention=own.attention, dropout=own.dropout,
                last_dropout=own.image_dropout,
            )
        )  # fmt: skip
        self.image_head = PathomicSNN(width, (), outputs, act)
        omic = PathomicSNN(sum(sizes[1:]), own.omic_hidden, outputs, act, own.dropout)
        fusion = GatedBilinearFusion(
            width,
            own.omic_hidden[-1],
            hidden=own.hidden,
            out=own.hidden,
            scale_image=own.scale_image,
            scale_omic=own.scale_omic,
            gate_image=own.gate_image,
            gate_omic=own.gate_omic,
            skip=own.skip,
            bilinear=own.bilinear,
            dropout=own.dropout,
        )
        self.pathomic = PathomicNet(omic, fusion, outputs, act)
        init_max(omic)
        init_max(self.image_head)

    def image_vectors(self, batch: Batch) -> Tensor:
        """Image vectors [n, image_width]."""
        if self.given:
            return self.image(batch.molecular[:, : self.given])
        return self.image(*batch.joined())

    def omic_rows(self, batch: Batch) -> Tensor:
        """Feature blocks [n, p]."""
        return batch.molecular[:, self.given :]

    def forward(self, batch: Batch) -> Tensor:
        """Outputs [n, outputs] of the fusion."""
        return self.pathomic(self.image_vectors(batch), self.omic_rows(batch))[1]


class PathomicFusionMethod(NetworkMethod):
    """The literature's row: last epoch; survival, or classes as in its grading network."""

    name = "pathomic_fusion"

    def __init__(self, **parameters: Any) -> None:
        self.parameters = filled(Settings, parameters, self.name)
        super().__init__(self.parameters)
        self.modality = f"{_READ[self.parameters.image]} and feature blocks"

    @property
    def device(self) -> torch.device:
        """See `NetworkMethod.device`."""
        return choose_device(self.parameters.device)

    def arrange(self, tile_dim: int) -> Arrange | None:
        """See `NetworkMethod.arrange`."""
        return thinned(self.parameters.max_tiles) if self.parameters.image == "tiles" else None

    def molecular(self, train: Cases) -> VectorAndBlocks:
        """See `NetworkMethod.molecular`."""
        own = self.parameters
        return VectorAndBlocks.fit(train, own.blocks, own.clip, own.image if own.image in SOURCES else None)

    def build(self, reader: Reader, tile_dim: int, head: Head, task: Task) -> tuple[PathomicFusionNetwork, Forward]:
        """See `NetworkMethod.build`; log hazards are squashed into [-3, 3], logits of intervals and classes are not."""
        assert reader.molecular is not None
        squashed = task == "survival" and self.parameters.survival_loss != "nll"
        act: Activation = "Sigmoid" if squashed else "none"
        network = PathomicFusionNetwork(self.parameters, reader.molecular.sizes, tile_dim, head.outputs, act)
        return network, network

    def fit_task(self, train: Cases, valid: Cases, task: Task, seed: int) -> NetworkModel:
        """The three stages, one after the other."""
        own = self.parameters
        reader, inputs = self.read_training(train, seed)
        part = train.subset(inputs.index)
        head = self.head(part, task)
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices), seeded(derived_seed(seed, self.name, task)):
            tile_dim = part.tiles.dim if part.tiles is not None else 0
            network, forward = self.build(reader, tile_dim, head, task)
            network.to(self.device)
            training = _Training(network, head, inputs, strata(part, task), own, seed)
            epochs: list[Epoch] = [*training.omic(), *training.image(), *training.fusion()]
        return NetworkModel(reader, head, network.eval(), forward, epochs)


@dataclass(frozen=True)
class _Training:
    """The three stages on the training patients."""

    network: PathomicFusionNetwork
    head: Head
    inputs: Inputs
    strata: NDArray[np.int64]
    settings: Settings
    seed: int

    def omic(self) -> list[StageEpoch]:
        """The genomic network with its own head."""
        tabular = replace(self.inputs, bags=None)

        def outputs(rows: NDArray[np.int64]) -> Tensor:
            return self.network.pathomic.omic_net(self.network.omic_rows(tabular.batch(rows)))[1]

        return self._stage("omic", self.network.pathomic.omic_net, outputs, self.settings.omic_recipe)

    def image(self) -> list[StageEpoch]:
        """The image network with its own head."""

        def outputs(rows: NDArray[np.int64]) -> Tensor:
            return self.network.image_head(self.network.image_vectors(self.inputs.batch(rows)))[1]

        parts = nn.ModuleList([self.network.image, self.network.image_head])
        return self._stage("image", parts, outputs, self.settings.image_recipe)

    def fusion(self) -> list[StageEpoch]:
        """Fusion on stored image vectors; the genomic network is frozen for the first epochs."""
        own, pathomic = self.settings, self.network.pathomic
        images, omic = self._stored()
        thawing = list(pathomic.omic_net.encoder.parameters())
        trained = [*thawing, *pathomic.fusion.parameters(), *pathomic.classifier.parameters()]

        def outputs(rows: NDArray[np.int64]) -> Tensor:
            place = torch.from_numpy(rows)
            return pathomic(images[place], omic[place])[1]

        def order(step: int, generator: np.random.Generator) -> Iterator[NDArray[np.int64]]:
            # Without a gradient, frozen parameters are left alone by the optimiser, weight decay included.
            for parameter in thawing:
                parameter.requires_grad_(step >= own.frozen_epochs)
            return batches(self.strata, own.batch_size, generator)

        def take_step(optimiser: torch.optim.Optimizer) -> None:
            for parameter in thawing:
                if parameter.grad is not None:
                    parameter.grad.add_(parameter.detach().sign(), alpha=own.l1)
            optimiser.step()

        groups = [{"params": trained, "betas": (own.beta1, 0.999)}]
        hooks = Hooks(groups=groups, order=order, step=take_step)
        return self._stage("fusion", pathomic, outputs, replace(own.recipe, l1=0.0), hooks)

    def _stage(
        self,
        stage: str,
        network: nn.Module,
        outputs: Callable[[NDArray[np.int64]], Tensor],
        recipe: Recipe,
        hooks: Hooks | None = None,
    ) -> list[StageEpoch]:
        def loss(rows: NDArray[np.int64]) -> Tensor | None:
            return self.head.loss(outputs(rows).cpu(), rows)

        epochs = optimise(network, loss, self.strata, recipe, derived_seed(self.seed, "batches", stage), hooks=hooks)
        return [StageEpoch(epoch.step, epoch.loss, epoch.score, epoch.skipped, stage) for epoch in epochs]

    def _stored(self) -> tuple[Tensor, Tensor]:
        """Image vectors of the trained image network, and feature blocks, of all training patients."""
        self.network.eval()
        rows = np.arange(len(self.inputs.index))
        size = self.settings.batch_size
        with torch.no_grad():
            read = (self.inputs.batch(rows[at : at + size]) for at in range(0, len(rows), size))
            images = torch.cat([self.network.image_vectors(batch) for batch in read])
        return images, self.inputs.molecular[:, self.network.given :].to(self.inputs.device)
