"""Linear probe on a representation's vectors: logistic regression for subtype, ridge Cox for survival."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pathomix.cohort.cases import Cases
from pathomix.core.errors import PathomixError
from pathomix.core.fitting import note_fitted
from pathomix.core.parameters import choice, filled
from pathomix.methods.base import Task
from pathomix.methods.per_task import (
    PerTaskMethod,
    class_index,
    outcome,
    probability_frame,
    require_outcome,
    risk_frame,
)
from pathomix.methods.slide_vectors import slide_vectors
from pathomix.survival.probe_cox import Convergence, ProbeCox, probe_cox
from pathomix.training.probes import (
    INVERSE_REGULARISATION,
    MAX_ITER,
    PENALTY,
    LogisticProbe,
    column_scaling,
    fit_logistic,
)

Floats = NDArray[np.float64]
STRATA = ("none", "class_label", "tissue_source_site")


@dataclass(frozen=True)
class Settings:
    """Parameters of the row (spec modaltune 6.1).

    Attributes:
        penalty: Ridge penalty of the Cox probe, lifelines' `penalizer`.
        inverse_regularisation: C of the logistic probe.
        max_iter: Iterations of liblinear.
        standardise: Whether the logistic probe sees dimensions z-scored over the training patients. The Cox probe
            penalises z-scored ones either way, as lifelines does.
        convergence: ``optimum``: the Cox probe solved to rounding; ``lifelines``: ended where lifelines ends.
        strata: Column of the patients whose values get baseline hazards of their own (in a union cohort the class
            label is the member cohort), or ``none``.
    """

    penalty: float = PENALTY
    inverse_regularisation: float = INVERSE_REGULARISATION
    max_iter: int = MAX_ITER
    standardise: bool = False
    convergence: Convergence = "optimum"
    strata: str = "none"

    def __post_init__(self) -> None:
        choice(self.convergence, get_args(Convergence), "convergence")
        choice(self.strata, STRATA, "strata")
        if self.penalty <= 0 or self.inverse_regularisation <= 0 or self.max_iter < 1:
            raise PathomixError(
                "probe: penalty and inverse_regularisation must be above 0 and max_iter at least 1",
                remedy="correct `parameters`",
            )


@dataclass(frozen=True)
class ProbeModel:
    """A fitted probe; `shift` and `scale` [d] are 0 and 1 where vectors are taken as they are."""

    probe: ProbeCox | LogisticProbe
    classes: tuple[str, ...]
    shift: Floats
    scale: Floats
    fitted: int

    def predict(self, cases: Cases) -> pd.DataFrame:
        """Log hazard relative to the training mean, or class probabilities, of patients with a vector."""
        frame = slide_vectors(cases)
        if frame.shape[1] != len(self.shift):
            raise PathomixError(
                f"vectors have {frame.shape[1]} dimensions, the probe was fitted on {len(self.shift)}",
                remedy="embed all patients with one representation",
            )
        rows = (frame.to_numpy(np.float64) - self.shift) / self.scale
        if isinstance(self.probe, ProbeCox):
            return risk_frame(self.probe.log_hazard(rows), frame.index)
        return probability_frame(self.probe.probabilities(rows), self.classes, frame.index)

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Coefficients, and what is taken off and divided by before."""
        common: dict[str, NDArray[np.generic]] = {"coefficients": self.probe.coefficients}
        if isinstance(self.probe, ProbeCox):
            return {**common, "mean": self.probe.mean}
        return {**common, "intercepts": self.probe.intercepts, "shift": self.shift, "scale": self.scale}

    def history(self) -> pd.DataFrame:
        """One row: patients and dimensions of the fit."""
        return pd.DataFrame({"step": [0], "patients": [self.fitted], "dimensions": [len(self.shift)]})


class Probe(PerTaskMethod):
    """Fitted on the training part alone: the released protocol leaves valid patients out of the probes."""

    def __init__(self, **parameters: Any) -> None:
        self.settings = filled(Settings, parameters, "probe")

    def fit_task(self, train: Cases, valid: Cases, task: Task, seed: int) -> ProbeModel:
        """Fit on the training patients with a vector."""
        frame = slide_vectors(train)
        if not len(frame):
            raise PathomixError(
                f"none of the {len(train.ids)} training patients has a vector",
                remedy="see why in `uns['missing']` of the embeddings, and run embed_cohort again",
            )
        part, rows = train.subset(frame.index), frame.to_numpy(np.float64)
        require_outcome(part, task)
        shift, scale = np.zeros(rows.shape[1]), np.ones(rows.shape[1])
        probe: ProbeCox | LogisticProbe
        if task == "survival" or self.settings.standardise:
            note_fitted("scaler", part.ids)
        if task == "subtype":
            note_fitted("class_statistics", part.ids)
        if task == "survival":
            probe = probe_cox(
                rows,
                *outcome(part),
                self.settings.penalty,
                strata=self._strata(part),
                convergence=self.settings.convergence,
            )
        else:
            if self.settings.standardise:
                shift, scale = column_scaling(rows)
            probe = fit_logistic(
                (rows - shift) / scale,
                class_index(part, part.classes),
                inverse_regularisation=self.settings.inverse_regularisation,
                max_iter=self.settings.max_iter,
            )
        return ProbeModel(probe, part.classes if task == "subtype" else (), shift, scale, len(rows))

    def _strata(self, part: Cases) -> NDArray[np.object_] | None:
        if self.settings.strata == "none":
            return None
        column = part.patients[self.settings.strata]
        unknown = part.ids[column.isna()]
        if len(unknown):
            raise PathomixError(
                f"training patients have no {self.settings.strata} to stratify the Cox probe by",
                offending=unknown,
                remedy="set `strata: none`, or fill the column in the cohort's table",
            )
        return column.astype(str).to_numpy(object)
