"""Regions of interest as Path-GPTomic reads them: random crops in training, a fixed grid of crops in prediction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from pathomix.cohort.cases import Cases, RegionStore
from pathomix.core.errors import PathomixError
from pathomix.core.parameters import choice
from pathomix.core.weights import load_strictly, read_state
from pathomix.nn.t2t_vit import VARIANTS, T2TSettings, T2TViT
from pathomix.nn.vgg import VGGEncoder
from pathomix.slides.t2t import Positions, load_t2t

Arguments = tuple[Tensor | int, ...]
"""What an image branch is called with."""

_IMAGES_AT_ONCE = 64
_VGG = "vgg19_bn"
_VGG_WIDTH = 1024
_SIZES = ("token_kind", "embed_dim", "depth", "heads", "mlp_ratio", "qk_scale")


class View(NamedTuple):
    """Images, or other inputs of the image branch, whose scores make the scores of some patients.

    Attributes:
        arguments: What the image branch is called with; it gives one row per entry of `place`.
        place: Number of the patient of each row, [m].
        weight: Weight of each row in the mean of its patient, [m].
    """

    arguments: Arguments
    place: Tensor
    weight: Tensor


@dataclass(frozen=True, kw_only=True)
class RegionEncoder:
    """The image encoder of regions.

    Attributes:
        variant: Published sizes, key of `nn.t2t_vit.VARIANTS`; what is given below replaces them. Or ``vgg19_bn``, the
            image CNN of Pathomic Fusion: convolutions frozen, two layers trained.
        weights: File of released weights (of the CNN: torchvision's); empty = random weights.
        positions: Where the file is of another image size, see `slides.t2t.load_t2t`.
        image_size: Edge of the images the network reads, in pixels.
        token_kind: See `nn.t2t_vit.T2TSettings`, as for all that follow.
        embed_dim: Token width.
        depth: Blocks.
        heads: Attention heads.
        mlp_ratio: Hidden width of the feed-forward.
        qk_scale: Factor of the scores.
    """

    variant: str = "14"
    weights: str = ""
    positions: Positions = "bicubic"
    image_size: int = 224
    token_kind: str | None = None
    embed_dim: int | None = None
    depth: int | None = None
    heads: int | None = None
    mlp_ratio: float | None = None
    qk_scale: float | None = None

    def __post_init__(self) -> None:
        choice(self.variant, (*VARIANTS, _VGG), "variant")
        choice(self.positions, get_args(Positions), "positions")
        given = [name for name in _SIZES if getattr(self, name) is not None]
        if self.variant != _VGG:
            _ = self.settings  # Sizes are checked there.
        elif given or self.image_size < 32:
            raise PathomixError(
                f"image_encoder: {_VGG} has fixed sizes and reads images of at least 32 pixels",
                offending=given,
                remedy="take these keys out, or name a variant of T2T-ViT",
            )

    @property
    def settings(self) -> T2TSettings:
        """Sizes of the T2T-ViT."""
        given = {name: getattr(self, name) for name in _SIZES if getattr(self, name) is not None}
        return replace(VARIANTS[self.variant], image_size=self.image_size, **given)

    @property
    def width(self) -> int:
        """Width of the features."""
        return _VGG_WIDTH if self.variant == _VGG else self.settings.embed_dim

    def build(self) -> T2TViT | VGGEncoder:
        """The network, with its weights where a file is given.

        Raises:
            PathomixError: The file cannot be read or does not fit.
        """
        if self.variant == _VGG:
            cnn = VGGEncoder(_VGG_WIDTH)
            if self.weights:
                path = Path(self.weights)
                state = {n: v for n, v in read_state(path).items() if not n.startswith("classifier.")}
                load_strictly(cnn.features, {n.removeprefix("features."): v for n, v in state.items()}, path)
            return cnn
        network = T2TViT(self.settings)
        if self.weights:
            load_t2t(network, Path(self.weights), self.positions)
        return network


class _Crops(NamedTuple):
    """Crops [n, 3, S, S] of one region, the place of its patient, and what each counts in the patient's mean."""

    images: Tensor
    place: int
    weight: float


@dataclass(frozen=True)
class RegionRows:
    """Regions of some patients, read when they are needed.

    Attributes:
        store: Regions of the cohort.
        ids: Patients.
        crop: Edge of a crop in pixels of the region.
        stride: Distance of neighbouring crops in prediction.
        size: Edge of the network's images.
        statistics: Key of `slides.region_images.STATISTICS`.
        device: Where images go.
    """

    store: RegionStore
    ids: pd.Index
    crop: int
    stride: int
    size: int
    statistics: str
    device: torch.device

    @classmethod
    def of(
        cls, cases: Cases, encoder: RegionEncoder, crop: int, stride: int, statistics: str, device: torch.device
    ) -> RegionRows:
        """The regions of `cases`, all of which have some.

        Raises:
            PathomixError: A crop does not fit into a region.
        """
        assert cases.regions is not None
        if crop > cases.regions.size:
            raise PathomixError(
                f"crop is {crop} and regions have {cases.regions.size} pixels", remedy="set a smaller `crop`"
            )
        return cls(cases.regions, cases.ids, crop, stride, encoder.image_size, statistics, device)

    def counts(self) -> NDArray[np.int64]:
        """Regions of every patient."""
        return np.array([len(self.store.of(patient).region_ids) for patient in self.ids], dtype=np.int64)

    def varies(self) -> bool:
        """Whether any two regions differ."""
        regions = (image for patient in self.ids for image in self.store.of(patient).images)
        first = next(regions)
        return any(not np.array_equal(first, image) for image in regions)

    def training(
        self, rows: NDArray[np.int64], regions: NDArray[np.int64] | None, generator: np.random.Generator
    ) -> Arguments:
        """One augmented crop per row: of the region named, or of one of the patient's drawn at random."""
        from pathomix.slides.region_images import STATISTICS, training_crop

        images = []
        for place, patient in enumerate(self.ids[rows]):
            found = self.store.of(patient).images
            images.append(found[generator.integers(len(found)) if regions is None else regions[place]])
        colours = STATISTICS[self.statistics]
        crops = training_crop(
            np.stack(images), self.size, generator, crop=self.crop, mean=colours.mean, std=colours.std
        )
        return (crops.to(self.device),)

    def views(self, rows: NDArray[np.int64]) -> Iterator[View]:
        """All crops of all regions; a patient's mean over them is the mean over crops and then over regions."""
        waiting: list[_Crops] = []
        for crops in self._crops(rows):
            waiting.append(crops)
            if sum(len(region.images) for region in waiting) >= _IMAGES_AT_ONCE:
                yield from self._joined(waiting)
                waiting = []
        if waiting:
            yield from self._joined(waiting)

    def _crops(self, rows: NDArray[np.int64]) -> Iterator[_Crops]:
        from pathomix.slides.region_images import STATISTICS, test_crops

        colours = STATISTICS[self.statistics]
        for place, patient in enumerate(self.ids[rows]):
            found = self.store.of(patient).images
            for image in found:
                crops = test_crops(
                    image, crop=self.crop, stride=self.stride, size=self.size, mean=colours.mean, std=colours.std
                )
                yield _Crops(crops, place, 1.0 / (len(found) * len(crops)))

    def _joined(self, regions: Sequence[_Crops]) -> Iterator[View]:
        """Crops of several regions side by side, cut to what the network is shown at once."""
        counts = torch.tensor([len(region.images) for region in regions])
        images = torch.cat([region.images for region in regions])
        place = torch.tensor([region.place for region in regions]).repeat_interleave(counts)
        weight = torch.tensor([region.weight for region in regions]).repeat_interleave(counts)
        for start in range(0, len(images), _IMAGES_AT_ONCE):
            part = slice(start, start + _IMAGES_AT_ONCE)
            yield View((images[part].to(self.device),), place[part], weight[part])
