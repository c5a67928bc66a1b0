"""The frozen slide encoder's own vector of a patient: nothing is trained ("Prov-GigaPath LP" with a linear probe)."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pathomix.cohort.cases import Cases, TileStore
from pathomix.core.errors import PathomixError
from pathomix.core.parameters import filled
from pathomix.foundation.build import SlideEncoders
from pathomix.foundation.layout import Layout
from pathomix.foundation.slide_encoder import SlideEncoder
from pathomix.representations.base import Embedding
from pathomix.training.checkpoint import Checkpoint
from pathomix.training.precision import choose_device

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """Parameters of the row.

    Attributes:
        vector: Name of the vector: ``state_<k>_cls`` or ``state_<k>_mean`` after block k, ``final_cls`` or
            ``final_mean`` (Prov-GigaPath), ``model`` (TITAN); spec slides_and_encoders 4.7.
        max_tiles: Tiles read per patient; of a larger bag, a subset that is the same at every call.
        coord_frame: ``target_mpp`` or ``level0_raw``, see `foundation.layout.Layout`.
        slide_layout: ``disjoint`` or ``released``, see there.
        same_cell: ``separate`` or ``summed``, see there.
        device: ``auto`` (cuda where there is one), ``cpu`` or ``cuda``.
    """

    vector: str = "state_12_mean"
    max_tiles: int = 25_000
    coord_frame: str = "target_mpp"
    slide_layout: str = "disjoint"
    same_cell: str = "separate"
    device: str = "auto"

    @property
    def layout(self) -> Layout:
        """How a patient's tiles become one case."""
        return Layout(self.coord_frame, self.slide_layout, "fixed", self.same_cell, self.max_tiles)


class SlideVector:
    """Slide vectors without training, `pathomix.representations.base.Representation`.

    Vectors depend on nothing but the tiles and the encoder, so each patient's is computed once for all folds.

    Args:
        slide_encoder: Parameters of the slide encoder.
        parameters: Fields of `Settings`.

    Raises:
        PathomixError: Parameters that are refused.
    """

    inner_folds = 0

    def __init__(self, slide_encoder: Mapping[str, Any], **parameters: Any) -> None:
        self.settings = filled(Settings, parameters, "slide_vector")
        self.layout = self.settings.layout
        self._encoders = SlideEncoders(slide_encoder)
        self._known: WeakKeyDictionary[TileStore, dict[str, NDArray[np.float32] | str]] = WeakKeyDictionary()

    def fit(
        self, train: Cases, valid: Cases, *, seed: int, checkpoint: Checkpoint, cohort: Cases | None = None
    ) -> FittedSlideVector:
        """Build the encoder for the width of the training patients' tiles; nothing else of the cases is read.

        Raises:
            PathomixError: The cohort has no tiles, the encoder cannot be built, or it has no such vector.
        """
        in_dim = _tiles(train).dim
        return FittedSlideVector(self, in_dim, self.encoder(in_dim).weights_sha256)

    def load(self, state: Mapping[str, NDArray[np.generic]]) -> FittedSlideVector:
        """Rebuild from width and digest of the encoder."""
        return FittedSlideVector(self, int(state["in_dim"].item()), state["weights_sha256"].tobytes().hex())

    def encoder(self, in_dim: int) -> SlideEncoder:
        """The encoder for tiles of this width, built once.

        Raises:
            PathomixError: See `fit`.
        """
        encoder = self._encoders.of(in_dim)
        names = encoder.backbone.vector_names
        if self.settings.vector not in names:
            raise PathomixError(
                f"slide_vector: {encoder.parameters.architecture} has no vector {self.settings.vector!r}",
                remedy=f"set `vector` to one of {', '.join(names)}",
            )
        encoder.model.to(choose_device(self.settings.device))
        return encoder

    def vectors(self, tiles: TileStore, patients: Iterable[str], in_dim: int) -> dict[str, NDArray[np.float32] | str]:
        """Vector of each patient, or the reason why there is none."""
        known = self._known.setdefault(tiles, {})
        found = {}
        for patient in patients:
            if patient not in known:
                known[patient] = self._vector(tiles, patient, self.encoder(in_dim))
            found[patient] = known[patient]
        return found

    def _vector(self, tiles: TileStore, patient: str, encoder: SlideEncoder) -> NDArray[np.float32] | str:
        if patient not in tiles.patient_ids:
            return "no embedded slide"
        try:
            arranged = encoder.arrange(tiles.bag(patient), patient, self.layout)
        except PathomixError as error:
            log.warning("%s", error)
            return str(error)
        vector = encoder.vectors(arranged, [self.settings.vector])[self.settings.vector]
        return vector if np.isfinite(vector).all() else "the slide vector is not finite"


@dataclass(frozen=True)
class FittedSlideVector:
    """`pathomix.representations.base.FittedRepresentation`.

    Attributes:
        owner: The representation.
        in_dim: Tile feature width.
        weights_sha256: Digest of the encoder's weights.
    """

    owner: SlideVector
    in_dim: int
    weights_sha256: str

    def embed(self, cases: Cases, *, foreign: Cases | None = None) -> Embedding:
        """The vector `general` of every patient with tiles; `foreign` is not needed, no statistic is involved.

        Raises:
            PathomixError: Tiles of another width than those of `fit`, or an encoder whose weights have changed since.
        """
        tiles = _tiles(cases)
        if tiles.patient_ids and tiles.dim != self.in_dim:
            raise PathomixError(
                f"tile features of width {tiles.dim}, the slide vectors were set up for {self.in_dim}",
                remedy="embed this cohort's tiles with the same tile encoder",
            )
        if self.owner.encoder(self.in_dim).weights_sha256 != self.weights_sha256:
            raise PathomixError(
                "the slide encoder's weights are not those the representation was set up with",
                remedy="put the weights file back, or run train_representation again",
            )
        found = self.owner.vectors(tiles, [str(patient) for patient in cases.ids], self.in_dim)
        rows = {patient: vector for patient, vector in found.items() if not isinstance(vector, str)}
        index = pd.Index(list(rows), name="patient_id", dtype=object)
        general = pd.DataFrame(np.stack(list(rows.values())) if rows else None, index=index)
        missing = {patient: reason for patient, reason in found.items() if isinstance(reason, str)}
        return Embedding({"general": general}, missing)

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Width and digest of the encoder, which is not repeated."""
        digest = np.frombuffer(bytes.fromhex(self.weights_sha256), dtype=np.uint8)
        return {"in_dim": np.array([self.in_dim], dtype=np.int64), "weights_sha256": digest}

    def history(self) -> pd.DataFrame:
        """No epochs."""
        return pd.DataFrame({"step": pd.Series(dtype="int64")})


def _tiles(cases: Cases) -> TileStore:
    if cases.tiles is None:
        raise PathomixError(
            "slide vectors need tile features", remedy="set the key `encoder` of the representation, or leave it out"
        )
    return cases.tiles
