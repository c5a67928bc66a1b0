"""Linear probes on embeddings (spec modaltune 6.1): logistic regression and ridge Cox, and their scores.

Plain arrays in and out: models are selected by them during training, and the method `probe` reports them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, log_expit, softmax

from pathomix.core.errors import PathomixError
from pathomix.survival.concordance import harrell_c
from pathomix.survival.probe_cox import Convergence, probe_cox

Floats = NDArray[np.float64]

UNLABELLED = -1
PENALTY = 0.1
INVERSE_REGULARISATION = 1.0
MAX_ITER = 200


@dataclass(frozen=True)
class LogisticProbe:
    """One-vs-rest logistic regressions side by side.

    Attributes:
        coefficients: [classes, d]; [1, d] with two classes (logit of the second).
        intercepts: [classes] or [1].
        classes: Class codes, ascending.
    """

    coefficients: Floats
    intercepts: Floats
    classes: NDArray[np.int64]

    def logits(self, vectors: ArrayLike) -> Floats:
        """Logit of each regression [n, classes] or [n, 1] of vectors [n, d]."""
        return np.asarray(np.asarray(vectors, dtype=np.float64) @ self.coefficients.T + self.intercepts)

    def probabilities(self, vectors: ArrayLike) -> Floats:
        """Class probabilities [n, classes]: the regressions' own, divided by their sum."""
        logits = self.logits(vectors)
        if len(self.classes) == 2:
            return np.hstack([expit(-logits), expit(logits)])
        return np.asarray(softmax(log_expit(logits), axis=1))

    def predict(self, vectors: ArrayLike) -> NDArray[np.int64]:
        """Class code [n] with the largest logit."""
        logits = self.logits(vectors)
        best = (logits[:, 0] > 0).astype(np.intp) if len(self.classes) == 2 else logits.argmax(axis=1)
        return self.classes[best]


def column_scaling(train: ArrayLike) -> tuple[Floats, Floats]:
    """What is taken off and divided by for z-scores of the training vectors [n, d]; constant columns become 0."""
    rows = np.asarray(train, dtype=np.float64)
    return rows.mean(axis=0), np.where(np.ptp(rows, axis=0) > 0, rows.std(axis=0), 1.0)


def fit_logistic(
    vectors: ArrayLike,
    label: ArrayLike,
    *,
    inverse_regularisation: float = INVERSE_REGULARISATION,
    max_iter: int = MAX_ITER,
) -> LogisticProbe:
    """Fit on the labelled rows: liblinear, one class against the rest, intercept penalised, columns as they are.

    Args:
        vectors: [n, d].
        label: [n] class codes, UNLABELLED (-1) for rows to leave out.
        inverse_regularisation: C, on the sum over patients.
        max_iter: Iterations of liblinear.

    Raises:
        PathomixError: Fewer than two classes among the labelled rows, or a vector is not finite.
    """
    rows, codes = np.asarray(vectors, dtype=np.float64), np.asarray(label, dtype=np.int64).ravel()
    rows, codes = rows[codes != UNLABELLED], codes[codes != UNLABELLED]
    classes = np.unique(codes)
    if len(classes) < 2:
        raise PathomixError(
            "the labelled training vectors are not of two or more classes",
            offending=classes,
            remedy="leave subtype out for this cohort",
        )
    if not np.isfinite(rows).all():
        raise PathomixError(
            "vectors are not finite at labelled rows",
            offending=np.flatnonzero(~np.isfinite(rows).all(axis=1)),
            remedy="leave out patients without a vector before",
        )
    # Imported here: cohorts are embedded, time and again, without a probe.
    from sklearn.linear_model import LogisticRegression

    # scikit-learn no longer lets liblinear loop over classes itself.
    targets = classes[1:] if len(classes) == 2 else classes
    model = LogisticRegression(solver="liblinear", C=inverse_regularisation, max_iter=max_iter, random_state=0)
    coefficients, intercepts = np.zeros((len(targets), rows.shape[1])), np.zeros(len(targets))
    for position, target in enumerate(targets):
        model.fit(rows, (codes == target).astype(np.int64))
        coefficients[position], intercepts[position] = model.coef_[0], model.intercept_[0]
    return LogisticProbe(coefficients, intercepts, classes)


def subtype_score(
    train: ArrayLike,
    train_label: ArrayLike,
    held: ArrayLike,
    held_label: ArrayLike,
    *,
    standardise: bool = False,
    inverse_regularisation: float = INVERSE_REGULARISATION,
    max_iter: int = MAX_ITER,
) -> float:
    """Balanced accuracy on held-out vectors of the logistic probe fitted on training vectors.

    The mean recall of the classes present among the held-out labels; rows labelled -1 do not count on either side. NaN
    where no held-out row is labelled. With `standardise` the probe sees z-scores of the training vectors.
    """
    if standardise:
        shift, scale = column_scaling(train)
        train, held = (np.asarray(train) - shift) / scale, (np.asarray(held) - shift) / scale
    codes = np.asarray(held_label, dtype=np.int64).ravel()
    known = codes != UNLABELLED
    if not known.any():
        return float("nan")
    from sklearn.metrics import recall_score

    probe = fit_logistic(train, train_label, inverse_regularisation=inverse_regularisation, max_iter=max_iter)
    true, predicted = codes[known], probe.predict(np.asarray(held)[known])
    return float(recall_score(true, predicted, labels=np.unique(true), average="macro"))


def survival_score(
    train: ArrayLike,
    train_time: ArrayLike,
    train_event: ArrayLike,
    held: ArrayLike,
    held_time: ArrayLike,
    held_event: ArrayLike,
    *,
    penalty: float = PENALTY,
    convergence: Convergence = "optimum",
) -> float:
    """Harrell's c on held-out vectors of the Cox probe fitted on training vectors; NaN without a comparable pair."""
    probe = probe_cox(train, train_time, train_event, penalty, convergence=convergence)
    return harrell_c(held_time, held_event, probe.log_hazard(held))
