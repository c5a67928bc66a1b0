"""What the text stage hands to representations: embedded label texts of patients."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

TEXT_TASKS = ("general", "diagnosis", "stage", "survival")
"""Order of the texts of one patient (spec modaltune 4.1)."""


class TextStore(Protocol):
    """Access to the text embeddings of one cohort (or several) in one fold."""

    @property
    def dim(self) -> int:
        """Embedding width."""
        ...

    @property
    def profile(self) -> str:
        """Fidelity profile that the texts were written with."""
        ...

    @property
    def patient_ids(self) -> frozenset[str]:
        """Patients with texts."""
        ...

    def embedding(self, patient_id: str) -> NDArray[np.float32]:
        """Unit vectors [4, dim] of the patient's texts, in the order of TEXT_TASKS."""
        ...
