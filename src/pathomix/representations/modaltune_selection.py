"""Which epoch becomes the model: probes on training vectors, scored on the valid part (spec modaltune 5, 9.3)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pathomix.cohort.cases import Cases
from pathomix.core.errors import PathomixError
from pathomix.core.fitting import note_fitted
from pathomix.representations.modaltune_data import CaseInputs, report_missing
from pathomix.training.probes import UNLABELLED, subtype_score, survival_score

if TYPE_CHECKING:
    from pathomix.representations.modaltune import FittedModalTune

PROBED = "general"


@dataclass(frozen=True)
class Selection:
    """Scores of the model being trained, on the vector `general` as the published protocol does.

    Attributes:
        criterion: ``valid_balanced_accuracy``: of the subtype probe; ``both_tasks``: the mean of it and of Harrell's c
            of the survival probe, or the one of them that can be computed.
        standardise: Whether the subtype probe sees z-scores of the training vectors.
        model: The model, while it is trained.
        train: Training patients.
        valid: Valid patients.
        fitted_on: Inputs of the training patients.
        scored_on: Inputs of the valid patients.
    """

    criterion: str
    standardise: bool
    model: FittedModalTune
    train: Cases
    valid: Cases
    fitted_on: CaseInputs
    scored_on: CaseInputs

    @classmethod
    def of(
        cls,
        criterion: str,
        standardise: bool,
        train: Cases,
        valid: Cases,
        model: FittedModalTune,
        fitted_on: CaseInputs,
    ) -> Selection | None:
        """The selection, or None for the criterion ``last``.

        Raises:
            PathomixError: No valid patient can be embedded.
        """
        if criterion == "last":
            return None
        scored_on = CaseInputs(valid, model.readers)
        report_missing(scored_on, "valid")
        if not len(scored_on.ids):
            raise PathomixError(
                "no valid patient can be embedded, so no epoch can be selected",
                offending=sorted(set(scored_on.missing.values())),
                remedy="set `selection: last`, or a scheme with a valid part",
            )
        note_fitted("selection", fitted_on.ids.append(scored_on.ids))
        return cls(criterion, standardise, model, train, valid, fitted_on, scored_on)

    def __call__(self, epoch: int) -> dict[str, float]:
        """Scores after an epoch, and `score` to select by; NaN where there is nothing to compute one of."""
        draw = 2 * epoch + 1
        train, valid = (
            self.model.vectors(inputs, (PROBED,), draw)[PROBED] for inputs in (self.fitted_on, self.scored_on)
        )
        accuracy = self._subtype(train, valid)
        concordance = self._survival(train, valid)
        known = [value for value in (accuracy, concordance) if not math.isnan(value)]
        both = float(np.mean(known)) if known else math.nan
        score = accuracy if self.criterion == "valid_balanced_accuracy" else both
        return {"valid_balanced_accuracy": accuracy, "valid_concordance": concordance, "score": score}

    def _subtype(self, train: pd.DataFrame, valid: pd.DataFrame) -> float:
        fitted, scored = self.train.patients.loc[train.index], self.valid.patients.loc[valid.index]
        classes = pd.Index(sorted(fitted["class_label"].dropna().unique()))
        if len(classes) < 2:
            return math.nan
        codes = [_codes(frame, classes) for frame in (fitted, scored)]
        return subtype_score(train.to_numpy(), codes[0], valid.to_numpy(), codes[1], standardise=self.standardise)

    def _survival(self, train: pd.DataFrame, valid: pd.DataFrame) -> float:
        fitted, scored = (
            cases.patients.loc[frame.index, ["time", "event"]].dropna()
            for cases, frame in ((self.train, train), (self.valid, valid))
        )
        if not len(scored) or not (fitted["event"] == 1).any():
            return math.nan
        return survival_score(
            train.loc[fitted.index].to_numpy(), *_outcome(fitted), valid.loc[scored.index].to_numpy(), *_outcome(scored)
        )


def _codes(patients: pd.DataFrame, classes: pd.Index) -> NDArray[np.int64]:
    """Position of each patient's class, UNLABELLED for one without or with a class that training has not."""
    found = classes.get_indexer(pd.Index(patients["class_label"]))
    return np.where(found < 0, UNLABELLED, found).astype(np.int64)


def _outcome(patients: pd.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    return patients["time"].to_numpy(np.float64), patients["event"].to_numpy(np.int64)
