"""Vectors of a representation, as methods read them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pathomix.cohort.cases import Cases
from pathomix.core.errors import PathomixError


def slide_vectors(cases: Cases) -> pd.DataFrame:
    """Vectors [patients, dimensions] of the patients who have one, in the order of the patients.

    Raises:
        PathomixError: The run was given no vectors, or one of them is not finite.
    """
    if cases.vectors is None:
        raise PathomixError(
            "the row reads vectors, and the run was given none",
            remedy="name a `representation` for the row (fit_method.py --vectors <embeddings>.h5ad, one per seed)",
        )
    frame = cases.vectors.reindex(cases.ids.intersection(cases.vectors.index, sort=False))
    damaged = frame.index[~np.isfinite(frame.to_numpy(np.float64)).all(axis=1)]
    if len(damaged):
        raise PathomixError(
            "vectors are not finite", offending=damaged, remedy="embed these patients again with embed_cohort"
        )
    return frame
