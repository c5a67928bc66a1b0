"""Clinical-only baseline: Cox and multinomial logistic regression on a few clinical fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pathomix.cohort.cases import Cases
from pathomix.core.errors import PathomixError
from pathomix.core.parameters import choice, filled
from pathomix.methods.base import Task
from pathomix.methods.blocks import CATEGORICAL, Design
from pathomix.methods.linear import LinearModel, ridge_logistic_path
from pathomix.methods.per_task import PerTaskMethod, class_index, outcome
from pathomix.survival.ridge import ridge_cox_path


@dataclass(frozen=True)
class Settings:
    """Parameters of the row.

    Attributes:
        fields: Clinical fields: age, sex, stage, grade; the last three one-hot over the levels seen in training.
        penalty: Tiny ridge that keeps the one-hot columns identifiable.
    """

    fields: tuple[str, ...] = ("age",)
    penalty: float = 0.1

    def __post_init__(self) -> None:
        for name in self.fields:
            choice(name, ("age", *CATEGORICAL), "fields")
        if self.penalty <= 0:
            raise PathomixError(f"clinical: penalty {self.penalty} is not above 0", remedy="correct `parameters`")


class Clinical(PerTaskMethod):
    """Train and valid joined; nothing is selected."""

    joins_valid = True

    def __init__(self, **parameters: Any) -> None:
        self.settings = filled(Settings, parameters, "clinical")

    def fit_task(self, train: Cases, valid: Cases, task: Task, seed: int) -> LinearModel:
        """Fit with the fixed penalty."""
        design, matrix = Design.fit(train, self.settings.fields)
        part, rows = train.subset(matrix.index), design.scaled(matrix)
        steps = pd.DataFrame({"step": [0], "penalty": [self.settings.penalty]})
        if task == "survival":
            coefficients = ridge_cox_path(rows, *outcome(part), [self.settings.penalty])
            return LinearModel(design, coefficients, np.zeros(1), (), steps)
        coefficients, intercepts = ridge_logistic_path(rows, class_index(part, part.classes), [self.settings.penalty])[
            0
        ]
        return LinearModel(design, coefficients, intercepts, part.classes, steps)
