"""What networks read of a patient's molecular measurements: feature blocks, or expression pathway by pathway."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from pathomix.cohort.cases import Cases
from pathomix.core.errors import PathomixError
from pathomix.genomics.expression import Standardiser
from pathomix.methods.blocks import Design


class Molecular(Protocol):
    """A reader whose statistics come from the training patients."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """Widths of the pieces of the vector: all blocks together, or each pathway."""
        ...

    def rows(self, cases: Cases) -> tuple[pd.Index, Tensor]:
        """Patients who have the measurements, in table order, and their vectors [patients, sum(sizes)]."""
        ...

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Named arrays of what was learnt."""
        ...


@dataclass(frozen=True)
class BlockVector:
    """All feature blocks as one vector."""

    design: Design

    @classmethod
    def fit(cls, train: Cases, blocks: Sequence[str], clip: float | None) -> Self:
        """See `Design.fit`."""
        return cls(Design.fit(train, blocks, clip)[0])

    @property
    def sizes(self) -> tuple[int, ...]:
        """A single width."""
        return (len(self.design.scaling.columns),)

    def rows(self, cases: Cases) -> tuple[pd.Index, Tensor]:
        """Patients who have any of the blocks."""
        index, values = self.design.rows(cases)
        return index, torch.from_numpy(values).float()

    def state(self) -> dict[str, NDArray[np.generic]]:
        """See `Design.state`."""
        return self.design.state()


@dataclass(frozen=True)
class BlocksOrMean(BlockVector):
    """Feature blocks for methods that can do without: a patient who has none of them gets the training mean."""

    def rows(self, cases: Cases) -> tuple[pd.Index, Tensor]:
        """All patients; zeros (z-scores of the training mean) for those without any block."""
        index, known = super().rows(cases)
        values = torch.zeros(len(cases.ids), sum(self.sizes))
        values[torch.from_numpy(cases.ids.get_indexer(index))] = known
        return cases.ids, values


@dataclass(frozen=True)
class PathwayVectors:
    """Expression of the genes of each pathway, z-scores of the training patients.

    Genes that do not vary among them are left out, and pathways of which nothing remains.

    Attributes:
        scaling: Of all genes that are in a pathway.
        names: Pathways kept.
        genes: Per pathway the positions of its genes among the columns of `scaling`.
        clip: Largest absolute z-score handed on; None = unlimited.
    """

    scaling: Standardiser
    names: tuple[str, ...]
    genes: tuple[NDArray[np.int64], ...]
    clip: float | None

    @classmethod
    def fit(cls, train: Cases, clip: float | None) -> PathwayVectors:
        """Fix genes, pathways and statistics.

        Raises:
            PathomixError: No training patient has expression, or no pathway has a gene that varies.
        """
        measured = _measured(train)
        if measured is None or not len(measured):
            raise PathomixError("no training patient has expression", remedy="leave the method out for this cohort")
        members = {gene for genes in train.pathways.values() for gene in genes}
        table = measured.loc[:, measured.columns.isin(members)]
        if not table.shape[1]:
            raise PathomixError(
                "no pathway holds a measured gene",
                offending=list(measured.columns[:3]),
                remedy="give the cohort pathways whose symbols match its expression table",
            )
        scaling = Standardiser.fit(table)
        place = {gene: position for position, gene in enumerate(scaling.columns)}
        found = {
            name: np.array([place[gene] for gene in genes if gene in place], dtype=np.int64)
            for name, genes in train.pathways.items()
        }
        kept = {name: positions for name, positions in found.items() if len(positions)}
        return cls(scaling, tuple(kept), tuple(kept.values()), clip)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Genes of each pathway."""
        return tuple(len(positions) for positions in self.genes)

    def rows(self, cases: Cases) -> tuple[pd.Index, Tensor]:
        """Patients with expression."""
        measured = _measured(cases)
        if measured is None or not len(measured):
            return cases.ids[:0], torch.zeros(0, sum(self.sizes))
        values = self.scaling.transform(measured).to_numpy()
        if self.clip is not None:
            values = np.clip(values, -self.clip, self.clip)
        return measured.index, torch.from_numpy(values[:, np.concatenate(self.genes)]).float()

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Statistics of the genes, pathway names (UTF-8, newline-separated), sizes and members."""
        names = np.frombuffer("\n".join(self.names).encode(), dtype=np.uint8)
        sizes = np.array(self.sizes, dtype=np.int64)
        return {
            **self.scaling.state(), "pathways": names, "pathway_sizes": sizes,
            "pathway_genes": np.concatenate(self.genes),
        }  # fmt: skip


def _measured(cases: Cases) -> pd.DataFrame | None:
    """Expression of patients with any value, in table order."""
    if cases.expression is None:
        return None
    present = cases.ids[cases.ids.isin(cases.expression.dropna(how="all").index)]
    return cases.expression.loc[present]
