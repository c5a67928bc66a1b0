"""What Path-GPTomic reads of a patient: alterations, embedded expression and one kind of image."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from pathomix.cohort.cases import Cases
from pathomix.core.errors import PathomixError
from pathomix.genomics.expression import Standardiser
from pathomix.methods.bags import Bags, TileScaling, thinned, with_tiles
from pathomix.methods.molecular import BlockVector
from pathomix.methods.path_gptomic_regions import Arguments, RegionRows, View
from pathomix.methods.path_gptomic_settings import PathGPTomicSettings
from pathomix.methods.slide_vectors import slide_vectors

log = logging.getLogger(__name__)

_AT_ONCE = 32


class ImageRows(Protocol):
    """Images of some patients."""

    def training(
        self, rows: NDArray[np.int64], regions: NDArray[np.int64] | None, generator: np.random.Generator
    ) -> Arguments:
        """What the image branch reads of these patients in a training step."""
        ...

    def views(self, rows: NDArray[np.int64]) -> Iterator[View]:
        """What it reads of them in prediction, a few at a time."""
        ...


class _WholeRows:
    """Images that are the same in training and prediction, one row per patient."""

    def arguments(self, rows: NDArray[np.int64]) -> Arguments:
        """What the image branch is called with; nothing where there is none."""
        return ()

    def training(
        self, rows: NDArray[np.int64], regions: NDArray[np.int64] | None, generator: np.random.Generator
    ) -> Arguments:
        """See `ImageRows.training`."""
        return self.arguments(rows)

    def views(self, rows: NDArray[np.int64]) -> Iterator[View]:
        """See `ImageRows.views`."""
        for start in range(0, len(rows), _AT_ONCE):
            part = rows[start : start + _AT_ONCE]
            yield View(self.arguments(part), torch.arange(start, start + len(part)), torch.ones(len(part)))


@dataclass(frozen=True)
class _NoImages(_WholeRows):
    pass


@dataclass(frozen=True)
class _VectorRows(_WholeRows):
    values: Tensor

    def arguments(self, rows: NDArray[np.int64]) -> Arguments:
        return (self.values[torch.from_numpy(rows).to(self.values.device)],)


@dataclass(frozen=True)
class _TileRows(_WholeRows):
    bags: Bags
    scaling: TileScaling
    device: torch.device

    def arguments(self, rows: NDArray[np.int64]) -> Arguments:
        tiles = [self.scaling.scaled(self.bags.features[row]) for row in rows]
        bag = torch.repeat_interleave(torch.arange(len(tiles)), torch.tensor([len(part) for part in tiles]))
        return torch.cat(tiles).to(self.device), bag.to(self.device), len(tiles)


@dataclass(frozen=True)
class Inputs:
    """Some patients who have everything that is read.

    Attributes:
        index: Patients, in table order.
        alterations: [n, p]; p = 0 without feature blocks.
        vectors: Embedded expression [n, d]; d = 0 without.
        image: Their images.
    """

    index: pd.Index
    alterations: Tensor
    vectors: Tensor
    image: ImageRows

    def genomic(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Alterations and embedded expression of the patients at these positions."""
        place = rows.to(self.alterations.device)
        return self.alterations[place], self.vectors[place]


@dataclass(frozen=True)
class Reader:
    """What a fitted model reads, with the statistics of its training patients.

    Attributes:
        settings: Of the method.
        device: Where tensors go.
        blocks: Feature blocks; None without.
        vectors: Embedded expression; None without.
        image_vectors: Slide vectors; None without.
        tiles: Statistics of tiles; None without.
    """

    settings: PathGPTomicSettings
    device: torch.device
    blocks: BlockVector | None = None
    vectors: Standardiser | None = None
    image_vectors: Standardiser | None = None
    tiles: TileScaling | None = None

    @classmethod
    def fit(cls, train: Cases, settings: PathGPTomicSettings, device: torch.device) -> tuple[Reader, Inputs]:
        """Statistics of the training patients who have everything that is read, and those patients.

        Raises:
            PathomixError: None of them has a modality, or a modality is the same for all of them.
        """
        reader = cls(settings, device)
        part = train.subset(reader.available(train))
        if not len(part.ids):
            raise PathomixError(
                f"no training patient has {settings.modalities}",
                remedy="leave path_gptomic out for this cohort, or let it read less",
            )
        if settings.blocks:
            reader = replace(reader, blocks=BlockVector.fit(part, settings.blocks, settings.clip))
            part = train.subset(reader.available(part))
        if settings.rna == "vectors":
            frame = _expression_vectors(part)
            reader = replace(reader, vectors=_statistics(frame, settings.value("scale_vectors")))
        if settings.image == "slide_vector":
            reader = replace(reader, image_vectors=_statistics(slide_vectors(part), True))
        bags = Bags(part, thinned(settings.max_tiles)) if settings.image == "tiles" else None
        if bags is not None:
            _require_variation(bags)
            reader = replace(reader, tiles=bags.scaling())
        inputs = reader._inputs(part, bags)
        if isinstance(inputs.image, RegionRows) and not inputs.image.varies():
            raise PathomixError(
                f"all regions of {len(part.ids)} training patients are the same image", remedy="cut the regions again"
            )
        return reader, inputs

    def available(self, cases: Cases) -> pd.Index:
        """Patients who have everything that is read so far, in table order; those who lack something are counted.

        Raises:
            PathomixError: Nobody has a modality.
        """
        settings = self.settings
        having: dict[str, pd.Index] = {}
        if settings.rna == "vectors":
            having["embedded expression"] = _expression_vectors(cases).index
        if settings.image == "tiles":
            having["tile features"] = with_tiles(cases)
        elif settings.image == "slide_vector":
            having["a slide vector"] = slide_vectors(cases).index
        elif settings.image == "regions":
            having["a region"] = cases.ids[cases.ids.isin(cases.regions.patient_ids if cases.regions else ())]
        if self.blocks is not None:
            having["the feature blocks"] = self.blocks.rows(cases)[0]
        kept = cases.ids
        for name, index in having.items():
            kept = kept[kept.isin(index)]
            missing = int((~cases.ids.isin(index)).sum())
            if missing:
                log.info("path_gptomic: %d of %d patients have not %s", missing, len(cases.ids), name)
        return kept

    def read(self, cases: Cases) -> Inputs:
        """Patients all of whom are `available`."""
        return self._inputs(cases, Bags(cases, thinned(self.settings.max_tiles)) if self.tiles is not None else None)

    def _inputs(self, part: Cases, bags: Bags | None) -> Inputs:
        count = len(part.ids)
        alterations, vectors = torch.zeros(count, 0), torch.zeros(count, 0)
        if self.blocks is not None:
            alterations = self.blocks.rows(part)[1]
        if self.vectors is not None:
            vectors = _rows(self.vectors, _expression_vectors(part).loc[part.ids])
        return Inputs(part.ids, alterations.to(self.device), vectors.to(self.device), self._image(part, bags))

    def _image(self, part: Cases, bags: Bags | None) -> ImageRows:
        settings = self.settings
        if bags is not None and self.tiles is not None:
            return _TileRows(bags, self.tiles, self.device)
        if self.image_vectors is not None:
            return _VectorRows(_rows(self.image_vectors, slide_vectors(part).loc[part.ids]).to(self.device))
        if settings.image == "regions":
            return RegionRows.of(
                part, settings.region_encoder, settings.crop, settings.stride, settings.statistics, self.device
            )
        return _NoImages()

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Named arrays of all statistics."""
        parts = {"alterations": self.blocks, "vectors": self.vectors, "slide_vectors": self.image_vectors,
                 "tiles": self.tiles}  # fmt: skip
        return {
            f"{part}.{name}": value
            for part, statistics in parts.items()
            if statistics is not None
            for name, value in statistics.state().items()
        }


def _expression_vectors(cases: Cases) -> pd.DataFrame:
    """Embedded expression of the patients who have it.

    Raises:
        PathomixError: The run was given none, or a value is not finite.
    """
    if cases.expression_vectors is None:
        raise PathomixError(
            "the row reads embedded expression, and the run was given none",
            remedy="name `expression_vectors` for the row, or set `rna: none`",
        )
    frame = cases.expression_vectors.loc[cases.expression_vectors.index.isin(cases.ids)]
    damaged = frame.index[~np.isfinite(frame.to_numpy(np.float64)).all(axis=1)]
    if len(damaged):
        raise PathomixError(
            "embedded expression is not finite",
            offending=damaged,
            remedy="embed the expression of these patients again",
        )
    return frame


def _statistics(frame: pd.DataFrame, scaled: bool) -> Standardiser:
    """z-scores of these patients, or values as they are."""
    fitted = Standardiser.fit(frame)
    if scaled:
        return fitted
    width = frame.shape[1]
    return Standardiser(frame.columns, np.zeros(width), np.zeros(width), np.ones(width))


def _rows(statistics: Standardiser, frame: pd.DataFrame) -> Tensor:
    return torch.from_numpy(statistics.transform(frame).to_numpy()).float()


def _require_variation(bags: Bags) -> None:
    lowest = torch.stack([bag.amin(dim=0) for bag in bags.features]).amin(dim=0)
    highest = torch.stack([bag.amax(dim=0) for bag in bags.features]).amax(dim=0)
    if bool((lowest == highest).all()):
        raise PathomixError(
            f"no tile feature varies among {len(bags.features)} training patients", remedy="embed the tiles again"
        )
