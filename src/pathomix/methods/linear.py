"""Linear heads with a ridge penalty: Cox for survival, multinomial logistic for subtype."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from pathomix.cohort.cases import Cases
from pathomix.methods.blocks import Design
from pathomix.methods.per_task import probability_frame, risk_frame
from pathomix.survival.ridge import row_space

Floats = NDArray[np.float64]
_ITERATIONS = 5000


@dataclass(frozen=True)
class LinearModel:
    """Coefficients on a scaled design.

    Attributes:
        design: Columns and scaling.
        coefficients: [outputs, columns], one output for survival.
        intercepts: [outputs], 0 for survival.
        classes: Class per output, empty for survival.
        steps: What was examined to choose the penalty.
    """

    design: Design
    coefficients: Floats
    intercepts: Floats
    classes: tuple[str, ...]
    steps: pd.DataFrame

    def predict(self, cases: Cases) -> pd.DataFrame:
        """Log hazard relative to the training mean, or class probabilities."""
        index, rows = self.design.rows(cases)
        scores = rows @ self.coefficients.T + self.intercepts
        if not self.classes:
            return risk_frame(scores[:, 0], index)
        return probability_frame(softmax(scores), self.classes, index)

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Design, coefficients and intercepts."""
        return {**self.design.state(), "coefficients": self.coefficients, "intercepts": self.intercepts}

    def history(self) -> pd.DataFrame:
        """Candidates examined."""
        return self.steps


def softmax(scores: Floats) -> Floats:
    """Row-wise softmax."""
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def ridge_logistic_path(
    design: Floats, label: NDArray[np.int64], penalties: Sequence[float]
) -> list[tuple[Floats, Floats]]:
    """Multinomial logistic regression per penalty: (coefficients [classes, p], intercepts [classes]).

    Minimises -loglik + lambda/2 |B|^2 (sums over patients; intercepts free), the same scale as the ridge Cox. With
    two classes the model is the binary one, its coefficients shown as (-b/2, b/2).

    Args:
        design: [n, p], scaled.
        label: [n], 0-based; two or more values occur.
        penalties: lambda values, solved from the largest, each started from the one before.
    """
    scores, directions = row_space(design)
    result: dict[int, tuple[Floats, Floats]] = {}
    model = LogisticRegression(max_iter=_ITERATIONS, tol=1e-6, warm_start=True)
    for position in np.argsort(-np.asarray(penalties, dtype=np.float64), kind="stable"):
        model.C = 1.0 / float(penalties[position])
        model.fit(scores, label)
        coefficients, intercepts = np.array(model.coef_), np.array(model.intercept_)
        if len(coefficients) == 1:
            coefficients, intercepts = (
                np.vstack([-coefficients, coefficients]) / 2,
                np.r_[-intercepts, intercepts] / 2,
            )
        result[int(position)] = (coefficients if directions is None else coefficients @ directions.T, intercepts)
    return [result[i] for i in range(len(penalties))]
