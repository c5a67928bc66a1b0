"""What representations hand to methods: one vector per patient, of a fold and seed."""

from __future__ import annotations

from typing import Protocol

import pandas as pd


class VectorStore(Protocol):
    """Access to the embeddings of one cohort and scheme."""

    def of(self, fold: int, seed: int) -> pd.DataFrame:
        """Vectors [patients, dimensions] of one fold and seed, index ``patient_id``, only patients that have one.

        Raises:
            PathomixError: The fold or seed is not in the store.
        """
        ...
