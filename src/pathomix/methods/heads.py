"""What a network is trained to say: survival by Cox or discrete hazards, subtype by cross-entropy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, get_args

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from pathomix.cohort.cases import Cases
from pathomix.core.fitting import note_fitted
from pathomix.core.parameters import choice
from pathomix.losses.cox import CoxMode, cox_loss
from pathomix.losses.discrete import discrete_risk, nll_survival_loss
from pathomix.methods.base import Task
from pathomix.methods.per_task import balanced_accuracy, class_index, outcome, probability_frame, risk_frame
from pathomix.survival.concordance import harrell_c
from pathomix.survival.discretise import clamped_labels, survival_bins

SURVIVAL_LOSSES = (*get_args(CoxMode), "nll")
Rows = NDArray[np.int64]


class Head(Protocol):
    """Outputs of the network, their loss on training rows and their meaning."""

    @property
    def outputs(self) -> int:
        """Width of the last layer."""
        ...

    def loss(self, outputs: Tensor, rows: Rows) -> Tensor | None:
        """Mean loss of these training rows; None where they carry no information."""
        ...

    def score(self, outputs: Tensor, cases: Cases) -> float:
        """Higher-is-better score on held-out patients; NaN where it cannot be computed."""
        ...

    def frame(self, outputs: Tensor, index: pd.Index) -> pd.DataFrame:
        """Predictions."""
        ...


class CoxHead:
    """One log hazard; partial likelihood within the mini-batch, Breslow ties."""

    outputs = 1

    def __init__(self, train: Cases, mode: CoxMode) -> None:
        time, event = outcome(train)
        self.time, self.event, self.mode = torch.from_numpy(time), torch.from_numpy(event), mode

    def loss(self, outputs: Tensor, rows: Rows) -> Tensor | None:
        """Cox loss; None without an event among the rows."""
        event = self.event[rows]
        return cox_loss(outputs, self.time[rows], event, self.mode) if bool(event.any()) else None

    def score(self, outputs: Tensor, cases: Cases) -> float:
        """Harrell's c."""
        return harrell_c(*outcome(cases), outputs.numpy())

    def frame(self, outputs: Tensor, index: pd.Index) -> pd.DataFrame:
        """Log hazard as risk."""
        return risk_frame(outputs[:, 0].numpy(), index)


class DiscreteHead:
    """Hazards of time intervals cut at quantiles of the training events; risk = -sum of survival probabilities."""

    def __init__(self, train: Cases, bins: int, alpha: float) -> None:
        time, event = outcome(train)
        note_fitted("survival_bins", train.ids)
        self.edges = survival_bins(time, event, bins)
        self.label, self.event = torch.from_numpy(clamped_labels(time, self.edges)), torch.from_numpy(event)
        self.outputs, self.alpha = bins, alpha

    def loss(self, outputs: Tensor, rows: Rows) -> Tensor | None:
        """Discrete negative log-likelihood."""
        return nll_survival_loss(outputs, self.label[rows], self.event[rows], self.alpha)

    def score(self, outputs: Tensor, cases: Cases) -> float:
        """Harrell's c of the risk."""
        return harrell_c(*outcome(cases), discrete_risk(outputs).numpy())

    def frame(self, outputs: Tensor, index: pd.Index) -> pd.DataFrame:
        """Minus the expected number of intervals survived."""
        return risk_frame(discrete_risk(outputs).numpy(), index)


class ClassHead:
    """One logit per class; cross-entropy in which every class has the same total weight."""

    def __init__(self, train: Cases) -> None:
        note_fitted("class_statistics", train.ids)
        self.classes: Sequence[str] = train.classes
        label = class_index(train, self.classes)
        counts = np.bincount(label, minlength=len(self.classes))
        self.weight = torch.from_numpy(len(label) / (len(counts) * counts)).float()
        self.label = torch.from_numpy(label)
        self.outputs = len(self.classes)

    def loss(self, outputs: Tensor, rows: Rows) -> Tensor | None:
        """Class-balanced cross-entropy."""
        return cross_entropy(outputs, self.label[rows], weight=self.weight)

    def score(self, outputs: Tensor, cases: Cases) -> float:
        """Balanced accuracy, with the cross-entropy as a small tie-breaker between epochs."""
        true = class_index(cases, self.classes)
        known = true >= 0
        if not known.any():
            return float("nan")
        loss = cross_entropy(outputs[known], torch.from_numpy(true[known]), weight=self.weight).item()
        return balanced_accuracy(true, outputs.argmax(dim=1).numpy()) - 1e-3 * min(loss, 10.0)

    def frame(self, outputs: Tensor, index: pd.Index) -> pd.DataFrame:
        """Softmax probabilities."""
        return probability_frame(torch.softmax(outputs.double(), dim=1).numpy(), self.classes, index)


def build_head(train: Cases, task: Task, survival_loss: str, bins: int, alpha: float) -> Head:
    """The head of a task, fixed on the training patients."""
    if task == "subtype":
        return ClassHead(train)
    choice(survival_loss, SURVIVAL_LOSSES, "survival_loss")
    if survival_loss == "nll":
        return DiscreteHead(train, bins, alpha)
    mode: CoxMode = survival_loss  # type: ignore[assignment]
    return CoxHead(train, mode)
