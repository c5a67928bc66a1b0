"""Prov-GigaPath (tuned): a slide encoder trained end to end with a head (ModalTune section 7)."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from pathomix.cohort.cases import Bag
from pathomix.core.parameters import choice, filled
from pathomix.foundation.build import SlideEncoders
from pathomix.foundation.layout import Layout
from pathomix.methods.bags import Arrange
from pathomix.methods.base import Task
from pathomix.methods.heads import Head
from pathomix.methods.network import Forward, Reader, by_size
from pathomix.methods.slide_network import SlideNetwork, SlideSettings
from pathomix.nn.tuned_encoder import TunedEncoder


@dataclass(frozen=True, kw_only=True)
class Settings(SlideSettings):
    """Parameters of the row; how the published row was trained is not known, the defaults are ours.

    Attributes:
        slide_encoder: Parameters of the slide encoder, see `foundation.parameters.SlideEncoderParameters`.
        pooling: Slide vector: ``model`` (the encoder's own), ``cls`` or ``mean``.
        max_tiles: Tiles read per patient; of a larger bag, a subset that is the same for every seed and fold.
        coord_frame: ``target_mpp`` or ``level0_raw``, see `foundation.layout.Layout`.
        slide_layout: ``disjoint`` or ``released``, see there.
        same_cell: ``separate`` or ``summed``, see there.
    """

    slide_encoder: Mapping[str, Any]
    pooling: str = "model"
    coord_frame: str = "target_mpp"
    slide_layout: str = "disjoint"
    same_cell: str = "separate"
    survival_loss: str = "nll"
    epochs: int = 10
    learning_rate: float = 1e-4
    l2: float = 1e-5

    def __post_init__(self) -> None:
        super().__post_init__()
        choice(self.pooling, ("model", "cls", "mean"), "pooling")

    @property
    def layout(self) -> Layout:
        """How a patient's tiles become one case."""
        return Layout(self.coord_frame, self.slide_layout, "fixed", self.same_cell, self.max_tiles)


class GigaPathTuned(SlideNetwork):
    """All weights of the slide encoder are trained; tile features go in as they are."""

    name = "gigapath_tuned"
    tiles_at_once = 4096
    scales_tiles = False

    def __init__(self, **parameters: Any) -> None:
        self.parameters = filled(Settings, parameters, "gigapath_tuned")
        super().__init__(self.parameters)
        self.layout = self.parameters.layout
        self._encoders = SlideEncoders(self.parameters.slide_encoder)

    def arrange(self, tile_dim: int) -> Arrange:
        """See `NetworkMethod.arrange`; slides of a patient are laid out as for the frozen encoder."""

        def arranged(bag: Bag, patient: str) -> tuple[NDArray[np.floating], NDArray[np.integer]]:
            case = self._encoders.of(tile_dim).arrange(bag, patient, self.layout)
            return case.features, case.coords

        return arranged

    def build(self, reader: Reader, tile_dim: int, head: Head, task: Task) -> tuple[nn.Module, Forward]:
        """See `NetworkMethod.build`."""
        network = self.network(tile_dim, head.outputs, sum(reader.molecular.sizes) if reader.molecular else 0)
        return network, lambda batch: by_size(batch, network)

    def network(self, tile_dim: int, outputs: int, omic_dim: int) -> TunedEncoder:
        """The network before any training."""
        own = self.parameters
        encoder = deepcopy(self._encoders.of(tile_dim).model)
        return TunedEncoder(encoder, outputs, own.pooling, omic_dim, own.omic_hidden, own.dropout)
