"""What representations hand to methods: one vector per patient, of a fold and seed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import pandas as pd


class VectorStore(Protocol):
    """Access to the embeddings of one cohort and scheme."""

    def of(self, fold: int, seed: int) -> pd.DataFrame:
        """Vectors [patients, dimensions] of one fold and seed, index ``patient_id``, only patients that have one.

        Raises:
            PathomixError: The fold or seed is not in the store.
        """
        ...


@runtime_checkable
class LeakingVectors(Protocol):
    """Vectors that know of declared leaks of the model behind them (fidelity profiles that fit on all patients)."""

    def leaks(self, fold: int, seed: int) -> Mapping[str, Mapping[str, Any]]:
        """Step to the setting that declares it, and how many patients of which parts it looked at."""
        ...
