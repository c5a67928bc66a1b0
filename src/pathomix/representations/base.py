"""The contract of representations: models that turn a patient into vectors, which probes then read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pathomix.cohort.cases import Cases
from pathomix.training.checkpoint import Checkpoint


@dataclass(frozen=True)
class Embedding:
    """Vectors of patients.

    Attributes:
        vectors: Name of the vector (`general`, `diagnosis`, `survival`; `general` always) to a frame
            [patients, dimensions] indexed by ``patient_id``, only of patients that could be embedded.
        missing: Patient to the reason why there is no vector.
    """

    vectors: Mapping[str, pd.DataFrame]
    missing: Mapping[str, str]


class FittedRepresentation(Protocol):
    """A representation ready to embed."""

    def embed(self, cases: Cases, *, foreign: Cases | None = None) -> Embedding:
        """Embed patients.

        Args:
            cases: Whom to embed.
            foreign: Training part of a cohort the model has not been trained on; its expression statistics replace
                those of the model's own training part (spec modaltune 6.4).
        """
        ...

    def state(self) -> Mapping[str, NDArray[np.generic]]:
        """Named arrays from which `Representation.load` rebuilds it; frozen backbones are not repeated in it."""
        ...

    def history(self) -> pd.DataFrame:
        """One row per epoch, column ``step`` and what was measured."""
        ...


class Representation(Protocol):
    """A representation, configured but not fitted.

    Built by `build.build_representation` as ``Class(slide_encoder, **parameters)``: the parameters of the slide encoder
    as a dictionary (its input width is that of the tiles met in `fit`), then its own.

    Attributes:
        inner_folds: Number of further fits, each leaving one part of the training patients out, that give these
            patients vectors of a model that has not seen them (cross-fitting); 0 = none.
    """

    inner_folds: int

    def fit(
        self, train: Cases, valid: Cases, *, seed: int, checkpoint: Checkpoint, cohort: Cases | None = None
    ) -> FittedRepresentation:
        """Fit on `train`, select on `valid`; resumes from `checkpoint` and saves to it after every epoch.

        Args:
            train: Training part.
            valid: Valid part, for selection only.
            seed: Of everything random.
            checkpoint: Where an interrupted fit left its state.
            cohort: All patients of the source, whose measurements (never outcomes) the released profile of ModalTune
                standardises by (spec modaltune 9.3); other profiles do not look at it.

        Raises:
            PathomixError: The training part cannot carry it, or the checkpoint belongs to another configuration.
        """
        ...

    def load(self, state: Mapping[str, NDArray[np.generic]]) -> FittedRepresentation:
        """Rebuild a fitted representation."""
        ...
