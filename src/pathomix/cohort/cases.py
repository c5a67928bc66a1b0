"""The typed object methods receive: patients, molecular matrices, pathways and bags of tiles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import pandas as pd

from pathomix.core.bags import Bag as Bag
from pathomix.core.bags import TileStore as TileStore
from pathomix.core.regions import RegionStore as RegionStore
from pathomix.core.texts import TextStore as TextStore

CASE_FILES = ("patients.parquet", "expression.h5ad", "alterations.h5ad", "pathways.json")
"""Artefacts of a cohort that make its cases."""


@dataclass(frozen=True)
class Cases:
    """Patients and what was measured on them.

    Attributes:
        patients: PATIENTS columns, index ``patient_id``.
        expression: Measured patients x gene symbols, float32; None when the cohort has none.
        copy_number: Measured patients x genes.
        mutation: Measured patients x genes, 0/1.
        pathways: Pathway name to gene symbols.
        tiles: Tile features, None when the cohort has none.
        texts: Embedded label texts of the fold, for representations trained against them.
        vectors: Patients x dimensions, one vector per patient from a representation (of this fold and seed).
        expression_vectors: Patients x dimensions, embedded expression (the same in every fold).
        regions: Regions of interest, None when the cohort has none.
    """

    patients: pd.DataFrame
    expression: pd.DataFrame | None = None
    copy_number: pd.DataFrame | None = None
    mutation: pd.DataFrame | None = None
    pathways: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    tiles: TileStore | None = None
    texts: TextStore | None = None
    vectors: pd.DataFrame | None = None
    expression_vectors: pd.DataFrame | None = None
    regions: RegionStore | None = None

    @property
    def ids(self) -> pd.Index:
        """Patient ids in table order."""
        return self.patients.index

    @property
    def classes(self) -> tuple[str, ...]:
        """Class labels present, sorted."""
        return tuple(sorted(self.patients["class_label"].dropna().unique()))

    def subset(self, ids: Iterable[str]) -> Cases:
        """The given patients, in the given order, with every modality restricted to them.

        Raises:
            KeyError: A patient is not part of these cases.
        """
        index = pd.Index(list(ids), name="patient_id")

        def rows(matrix: pd.DataFrame | None) -> pd.DataFrame | None:
            return None if matrix is None else matrix.loc[index.intersection(matrix.index, sort=False)]

        return replace(
            self,
            patients=self.patients.loc[index],
            expression=rows(self.expression),
            copy_number=rows(self.copy_number),
            mutation=rows(self.mutation),
            vectors=rows(self.vectors),
            expression_vectors=rows(self.expression_vectors),
        )

    def concat(self, other: Cases) -> Cases:
        """These cases followed by others of the same cohort (disjoint patients).

        Raises:
            ValueError: A patient is on both sides.
        """
        shared = self.ids.intersection(other.ids)
        if len(shared):
            raise ValueError(f"patients on both sides: {list(shared[:5])}")

        def rows(a: pd.DataFrame | None, b: pd.DataFrame | None) -> pd.DataFrame | None:
            return a if b is None else b if a is None else pd.concat([a, b])

        return replace(
            self,
            patients=pd.concat([self.patients, other.patients]),
            expression=rows(self.expression, other.expression),
            copy_number=rows(self.copy_number, other.copy_number),
            mutation=rows(self.mutation, other.mutation),
            vectors=rows(self.vectors, other.vectors),
            expression_vectors=rows(self.expression_vectors, other.expression_vectors),
        )

    def with_survival(self) -> Cases:
        """Only the patients whose time and event are known."""
        known = self.patients["time"].notna() & self.patients["event"].notna()
        return self.subset(self.ids[known])

    def with_class(self) -> Cases:
        """Only the patients with a class label."""
        return self.subset(self.ids[self.patients["class_label"].notna()])
