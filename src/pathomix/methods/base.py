"""The one contract every method fulfils."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pathomix.cohort.cases import Cases

Task = Literal["survival", "subtype"]
Modality = Literal["clinical", "expression", "copy_number", "mutation", "tiles"]


class Model(Protocol):
    """A fitted method."""

    def predict(self, cases: Cases) -> Mapping[Task, pd.DataFrame]:
        """Per fitted task a frame indexed by `patient_id`.

        Survival: column ``risk`` (higher = worse). Subtype: one column ``probability_<class>`` per class of the
        training part, rows summing to 1. A patient without any modality the method needs has NaN, never a default.
        """
        ...

    def state(self) -> Mapping[str, NDArray[np.generic]]:
        """Everything needed to rebuild the model, as named arrays (for ``model.safetensors``)."""
        ...

    def history(self) -> pd.DataFrame:
        """One row per step or candidate examined during fitting: columns `task`, `step`, and what was measured."""
        ...


class Method(Protocol):
    """A way to predict, configured but not fitted.

    Attributes:
        joint_tasks: Whether one fit serves all tasks together; otherwise each task is fitted by a call of its own.
    """

    joint_tasks: bool

    def fit(self, train: Cases, valid: Cases, *, tasks: Sequence[Task], seed: int) -> Model:
        """Fit on `train`; `valid` (same fold, never the test part) serves selection or is joined to `train`.

        Raises:
            PathomixError: The training part cannot carry the task (no event, one class, no patient with the modality).
        """
        ...
