"""Blocks of features as one matrix: which columns, in what order, for whom, and how they are scaled.

What is learnt from patients (category levels, medians, means, standard deviations) is learnt from the training
patients handed over, never from those predicted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pathomix.cohort.cases import Cases
from pathomix.core.errors import PathomixError
from pathomix.core.fitting import note_fitted
from pathomix.genomics.expression import Standardiser, pathway_means

Floats = NDArray[np.float64]

CATEGORICAL = ("sex", "stage", "grade")
BLOCKS = ("age", *CATEGORICAL, "expression", "pathways", "copy_number", "mutation")


@dataclass(frozen=True)
class Layout:
    """The columns of a design matrix, fixed on the training patients.

    Attributes:
        blocks: Block names in the order of their columns.
        levels: Categories seen in training, per categorical block; an unseen one is coded as missing.
        columns: Column names, ``<block>:<name>``.
    """

    blocks: tuple[str, ...]
    levels: Mapping[str, tuple[str, ...]]
    columns: tuple[str, ...]

    @classmethod
    def of(cls, train: Cases, blocks: Sequence[str]) -> Layout:
        """Fix the columns.

        Raises:
            PathomixError: An unknown block, or one that no training patient has.
        """
        unknown = sorted(set(blocks) - set(BLOCKS))
        if unknown or not blocks:
            raise PathomixError("unknown or no feature blocks", offending=unknown, remedy=f"use some of {list(BLOCKS)}")
        if set(blocks) & set(CATEGORICAL):
            note_fitted("vocabulary", train.ids)
        levels = {
            name: tuple(sorted(train.patients[name].dropna().astype(str).unique()))
            for name in blocks
            if name in CATEGORICAL
        }
        matrices = {name: _block(train, name, levels) for name in blocks}
        empty = [name for name, matrix in matrices.items() if matrix is None or not matrix.size]
        if empty:
            raise PathomixError(
                "no training patient has the feature blocks",
                offending=empty,
                remedy="take them out of `blocks`, or leave the method out for this cohort",
            )
        columns = [f"{name}:{c}" for name, matrix in matrices.items() if matrix is not None for c in matrix.columns]
        return cls(tuple(blocks), levels, tuple(columns))

    def matrix(self, cases: Cases) -> pd.DataFrame:
        """Patients with at least one of the blocks x columns, float64; NaN where a value or a block is missing."""
        parts = []
        present = pd.Series(False, index=cases.ids)
        for name in self.blocks:
            block = _block(cases, name, self.levels)
            if block is None:
                continue
            measured = block.dropna(how="all")
            present.loc[measured.index] = True
            parts.append(block.add_prefix(f"{name}:"))
        if not parts:
            return pd.DataFrame(columns=list(self.columns), index=cases.ids[:0], dtype=np.float64)
        joined = pd.concat(parts, axis=1).reindex(index=cases.ids[present.to_numpy()])
        return joined.reindex(columns=list(self.columns)).astype(np.float64)


def _block(cases: Cases, name: str, levels: Mapping[str, Sequence[str]]) -> pd.DataFrame | None:
    """Columns of one block for the patients it was measured on; None where the cohort has none of it."""
    if name == "age":
        return cases.patients[["age"]].dropna()
    if name in CATEGORICAL:
        values = cases.patients[name].dropna().astype(str)
        values = values[values.isin(list(levels[name]))]
        coded = {level: (values == level).astype(np.float64) for level in levels[name]}
        return pd.DataFrame(coded, index=values.index)
    source = cases.expression if name in ("expression", "pathways") else getattr(cases, name)
    if source is None or not len(source):
        return None
    if name == "pathways":
        return pathway_means(source, cases.pathways)
    return pd.DataFrame(source)


@dataclass(frozen=True)
class Design:
    """A layout with its scaling: what a fitted method keeps of its training patients' features.

    Attributes:
        layout: Columns.
        scaling: Median imputation, constant columns dropped, z-scores.
        clip: Largest absolute z-score handed on; None = unlimited.
    """

    layout: Layout
    scaling: Standardiser
    clip: float | None = None

    @classmethod
    def fit(cls, train: Cases, blocks: Sequence[str], clip: float | None = None) -> tuple[Design, pd.DataFrame]:
        """The design, and the unscaled matrix of the training patients who have any block."""
        layout = Layout.of(train, blocks)
        matrix = layout.matrix(train)
        return cls(layout, Standardiser.fit(matrix), clip), matrix

    def rows(self, cases: Cases) -> tuple[pd.Index, Floats]:
        """Patients who have any block and their scaled rows [patients, kept columns]."""
        matrix = self.layout.matrix(cases)
        return matrix.index, self.scaled(matrix)

    def scaled(self, matrix: pd.DataFrame) -> Floats:
        """Scaled rows of an unscaled matrix of this layout."""
        values = self.scaling.transform(matrix).to_numpy()
        return values if self.clip is None else np.clip(values, -self.clip, self.clip)

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Kept columns and their statistics, as named arrays."""
        return self.scaling.state()
