"""What a fusion reads of a patient as one row: a vector (of a slide, or expression), and feature blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from pathomix.cohort.cases import Cases
from pathomix.core.errors import PathomixError
from pathomix.genomics.expression import Standardiser
from pathomix.methods.molecular import BlockVector
from pathomix.methods.slide_vectors import slide_vectors

SOURCES = ("slide_vector", "expression")


@dataclass(frozen=True)
class VectorAndBlocks:
    """Feature blocks, and before them a patient's vector where it is read.

    Attributes:
        blocks: Feature blocks.
        source: What the vector is, one of SOURCES; None where none is read.
        vectors: Statistics of the training patients' vectors; None where they are not read.
    """

    blocks: BlockVector
    source: str | None
    vectors: Standardiser | None

    @classmethod
    def fit(cls, train: Cases, blocks: Sequence[str], clip: float | None, source: str | None) -> VectorAndBlocks:
        """Statistics of training patients; of the blocks only over those who have a vector, where it is read.

        Raises:
            PathomixError: No training patient has the vector or a block.
        """
        if source is None:
            return cls(BlockVector.fit(train, blocks, clip), None, None)
        frame = vectors_of(train, source)
        if not len(frame):
            raise PathomixError(
                "no training patient has a vector",
                remedy="see why in `uns['missing']` of the embeddings, or leave the method out for this cohort",
            )
        part = train.subset(train.ids[train.ids.isin(frame.index)])
        return cls(BlockVector.fit(part, blocks, clip), source, Standardiser.fit(frame))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Width of the vector (0 without one) and of the blocks."""
        return (len(self.vectors.columns) if self.vectors else 0, *self.blocks.sizes)

    def rows(self, cases: Cases) -> tuple[pd.Index, Tensor]:
        """Patients who have any of the blocks, and a vector where it is read."""
        index, values = self.blocks.rows(cases)
        if self.vectors is None or self.source is None:
            return index, values
        frame = vectors_of(cases, self.source)
        kept = index.isin(frame.index)
        z = self.vectors.transform(frame.loc[index[kept]]).to_numpy()
        clip = self.blocks.design.clip
        scaled = torch.from_numpy(z if clip is None else z.clip(-clip, clip)).float()
        return index[kept], torch.cat([scaled, values[torch.from_numpy(kept)]], dim=1)

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Arrays of both, each under its own name."""
        parts = {"omic": self.blocks.state(), "image": self.vectors.state() if self.vectors else {}}
        return {f"{part}.{name}": value for part, state in parts.items() for name, value in state.items()}


def vectors_of(cases: Cases, source: str) -> pd.DataFrame:
    """Vectors of the patients who have one.

    Args:
        cases: Patients.
        source: ``slide_vector`` (of a representation) or ``expression`` (measured genes; gaps are filled later).

    Raises:
        PathomixError: The run was given no vectors, or one of them is not finite.
    """
    if source == "slide_vector":
        return slide_vectors(cases)
    if cases.expression is None:
        raise PathomixError("the row reads expression, which the cohort has not", remedy="leave it out for this cohort")
    return cases.expression.loc[cases.expression.index.isin(cases.ids)]
