"""Preprocessing of molecular matrices: pathway means and a standardiser that only ever sees its training part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pathomix.core.errors import PathomixError
from pathomix.core.fitting import note_fitted

# A column whose range is below this share of its size is constant up to rounding.
_CONSTANT = 1e-12


def pathway_means(expression: pd.DataFrame, pathways: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Mean expression over the measured genes of each pathway; missing values are left out of the mean.

    Args:
        expression: Patients x gene symbols.
        pathways: Pathway name to gene symbols; genes that are not measured are left out.

    Returns:
        Patients x pathways (in the given order), float64; pathways without a measured gene are absent.

    Raises:
        PathomixError: No pathway has a measured gene.
    """
    place = {gene: j for j, gene in enumerate(expression.columns)}
    members = {name: [place[gene] for gene in genes if gene in place] for name, genes in pathways.items()}
    members = {name: columns for name, columns in members.items() if columns}
    if not members:
        raise PathomixError(
            "no pathway holds a measured gene",
            offending=list(expression.columns[:3]),
            remedy="give the cohort pathways whose symbols match its expression table (`pathways` in the description)",
        )
    values = expression.to_numpy(np.float64)
    member = np.zeros((values.shape[1], len(members)))
    for column, rows in enumerate(members.values()):
        member[rows, column] = 1.0
    known = ~np.isnan(values)
    counts = known.astype(np.float64) @ member
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.where(counts > 0, np.where(known, values, 0.0) @ member / counts, np.nan)
    return pd.DataFrame(means, index=expression.index, columns=pd.Index(list(members), name="pathway"))


class Standardiser:
    """Median imputation, constant columns dropped, z-scores; all statistics from the frame it was fitted on.

    The standard deviation divides by n (ddof 0, as in scikit-learn's StandardScaler), after imputation.

    Attributes:
        columns: Columns kept, in the order of the training frame.
        median: float64 [columns], over known training values.
        mean: float64 [columns], after imputation.
        scale: float64 [columns], standard deviation after imputation.
    """

    def __init__(self, columns: pd.Index, median: NDArray[np.float64], mean: NDArray[np.float64],
                 scale: NDArray[np.float64]) -> None:  # fmt: skip
        self.columns, self.median, self.mean, self.scale = columns, median, mean, scale

    @classmethod
    def fit(cls, train: pd.DataFrame) -> Standardiser:
        """Statistics of a training part.

        Args:
            train: Patients x features, numeric, NaN = missing. Columns without a known value count as constant.

        Raises:
            PathomixError: No row, or no column varies.
        """
        for step in ("imputation", "gene_filter", "scaler"):
            note_fitted(step, train.index)
        values = train.to_numpy(np.float64)
        known = ~np.isnan(values).all(axis=0)
        median = np.full(values.shape[1], np.nan)
        if known.any():
            median[known] = np.nanmedian(values[:, known], axis=0)
        filled = np.where(np.isnan(values), median, values)
        # By range, not by standard deviation: rounding gives a constant column a tiny one.
        varies = known.copy()
        if known.any():
            size = np.maximum(1.0, np.abs(filled[:, known]).max(axis=0))
            varies[known] = np.ptp(filled[:, known], axis=0) > _CONSTANT * size
        if not varies.any():
            raise PathomixError(
                f"no feature varies among {len(train)} training patients",
                offending=list(train.columns[:5]),
                remedy="check that the modality is measured in the training part",
            )
        kept = filled[:, varies]
        return cls(train.columns[varies], median[varies], kept.mean(axis=0), kept.std(axis=0))

    def transform(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Impute and standardise with the training statistics.

        Args:
            frame: Patients x features; further columns are ignored.

        Returns:
            Patients x kept columns, float64, without NaN.

        Raises:
            PathomixError: A column seen in training is absent.
        """
        absent = self.columns.difference(frame.columns)
        if len(absent):
            raise PathomixError(
                "features seen in training are absent", offending=absent, remedy="predict on tables with the same genes"
            )
        values = frame[self.columns].to_numpy(np.float64)
        scaled = (np.where(np.isnan(values), self.median, values) - self.mean) / self.scale
        return pd.DataFrame(scaled, index=frame.index, columns=self.columns)

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Named arrays that rebuild it (`from_state`); column names as UTF-8 bytes, newline-separated."""
        names = np.frombuffer("\n".join(map(str, self.columns)).encode(), dtype=np.uint8)
        return {"columns": names, "median": self.median, "mean": self.mean, "scale": self.scale}

    @classmethod
    def from_state(cls, state: Mapping[str, NDArray[np.generic]]) -> Standardiser:
        """Inverse of `state`."""
        names = bytes(state["columns"].astype(np.uint8)).decode().split("\n")
        median, mean, scale = (state[key].astype(np.float64) for key in ("median", "mean", "scale"))
        return cls(pd.Index(names), median, mean, scale)
