"""Genes and clinical numbers as a model reads them: which ones, in what order, and scaled by whose statistics."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pathomix.core.errors import PathomixError
from pathomix.core.fitting import note_fitted
from pathomix.text.fields import clean_fields

log = logging.getLogger(__name__)

Floats = NDArray[np.float64]

CLINICAL = ("age", "stage", "t", "n", "m")
"""Clinical numbers of a case, in their order (spec modaltune 3.4)."""

_CODED = CLINICAL[1:]
_RANKS: dict[str, Mapping[str, float]] = {
    "stage": {"0": 0, "I": 1, "II": 2, "III": 3, "IV": 4},
    "t": {"Tis": 0, "Ta": 0, "T0": 0, "T1": 1, "T2": 2, "T3": 3, "T4": 4},
    "n": {"N0": 0, "N1": 1, "N2": 2, "N3": 3},
    "m": {"M0": 0, "M1": 1},
}


def moments(values: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation (ddof 0) of known values by column.

    A column that is constant or unknown gets an infinite standard deviation, so that it scales to 0 everywhere.
    """
    # The order of summation follows the memory layout, which differs between equal tables.
    values = np.ascontiguousarray(values)
    known = ~np.isnan(values)
    count = known.sum(axis=0)
    mean = np.where(known, values, 0.0).sum(axis=0) / np.maximum(count, 1)
    apart = np.where(known, values - mean, 0.0)
    spread = np.sqrt(np.square(apart).sum(axis=0) / np.maximum(count, 1))
    # Rounding gives a constant column a tiny spread.
    return mean, np.where(spread > 1e-9 * np.maximum(1.0, np.abs(mean)), spread, np.inf)


@dataclass(frozen=True)
class GeneScaling:
    """Genes of the pathways and their statistics.

    Attributes:
        pathways: Pathway to its measured genes, in the order of the model's pathway networks.
        genes: Distinct genes of the pathways.
        mean: float64 [genes].
        sd: float64 [genes], infinite for a constant gene.
        clip: Largest absolute z-score; None = unlimited.
    """

    pathways: Mapping[str, tuple[str, ...]]
    genes: tuple[str, ...]
    mean: Floats
    sd: Floats
    clip: float | None

    @classmethod
    def fit(cls, expression: pd.DataFrame, pathways: Mapping[str, Sequence[str]], clip: float | None) -> GeneScaling:
        """Genes that are measured, and their moments over these patients; pathways without any are left out by name.

        Raises:
            PathomixError: No pathway has a measured gene, or there are fewer than two patients.
        """
        measured = set(expression.columns)
        found = {name: tuple(gene for gene in genes if gene in measured) for name, genes in pathways.items()}
        empty = [name for name, genes in found.items() if not genes]
        kept = {name: genes for name, genes in found.items() if genes}
        if not kept:
            raise PathomixError(
                f"none of {len(pathways)} pathways has a measured gene",
                offending=list(pathways)[:3],
                remedy="give the cohort pathways whose symbols match its expression table",
            )
        if empty:
            log.warning("%d of %d pathways have no measured gene and are left out: %s", len(empty), len(pathways),
                        ", ".join(empty))  # fmt: skip
        genes = tuple(dict.fromkeys(gene for members in kept.values() for gene in members))
        mean, sd = _gene_moments(expression.reindex(columns=list(genes)))
        return cls(kept, genes, mean, sd, clip)

    def refitted(self, expression: pd.DataFrame) -> GeneScaling:
        """The same genes with the statistics of other patients; genes they lack scale to 0, the mean."""
        mean, sd = _gene_moments(expression.reindex(columns=list(self.genes)))
        return replace(self, mean=mean, sd=sd)

    def require_coverage(self, expression: pd.DataFrame, smallest: float) -> None:
        """See `require_genes`; pathways that lose all their genes are named too."""
        absent = require_genes(self.genes, expression, smallest)
        gone = [name for name, genes in self.pathways.items() if set(genes) <= set(absent)] if len(absent) else []
        if gone:
            log.warning("%d pathways have no measured gene: %s", len(gone), ", ".join(gone))

    def rows(self, expression: pd.DataFrame) -> pd.DataFrame:
        """Inputs [patients, memberships], float32: z-scores, pathway by pathway, unknown values at the mean.

        Patients without any known value are absent from the result.
        """
        values = expression.reindex(columns=list(self.genes)).to_numpy(np.float64)
        known = ~np.isnan(values)
        present = known.any(axis=1)
        scaled = np.where(known, (values - self.mean) / self.sd, 0.0)
        if self.clip is not None:
            scaled = np.clip(scaled, -self.clip, self.clip)
        place = {gene: number for number, gene in enumerate(self.genes)}
        members = [place[gene] for genes in self.pathways.values() for gene in genes]
        return pd.DataFrame(scaled[present][:, members].astype(np.float32), index=expression.index[present])

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[np.generic]]]:
        """What `load` needs: a JSON-serialisable part and arrays."""
        described = {"pathways": [[name, list(genes)] for name, genes in self.pathways.items()], "clip": self.clip}
        return described, {"genes.mean": self.mean, "genes.sd": self.sd}

    @classmethod
    def load(cls, described: Mapping[str, Any], arrays: Mapping[str, NDArray[np.generic]]) -> GeneScaling:
        """Inverse of `state`."""
        pathways = {name: tuple(genes) for name, genes in described["pathways"]}
        genes = tuple(dict.fromkeys(gene for members in pathways.values() for gene in members))
        mean, sd = (arrays[f"genes.{name}"].astype(np.float64) for name in ("mean", "sd"))
        return cls(pathways, genes, mean, sd, described["clip"])


def _gene_moments(expression: pd.DataFrame) -> tuple[Floats, Floats]:
    if len(expression) < 2:
        raise PathomixError(
            f"expression of {len(expression)} patients has no standard deviation", remedy="use a larger training part"
        )
    for step in ("imputation", "gene_filter", "scaler"):
        note_fitted(step, expression.index)
    return moments(expression.to_numpy(np.float64))


@dataclass(frozen=True)
class ClinicalScaling:
    """Age, stage, T, N and M as numbers.

    Attributes:
        coding: ``labels``: age divided by the largest, the others as positions among the sorted values met, a missing
            value after them, unscaled. ``ranks``: ranks of fixed vocabularies, all standardised, unknown ones at the
            mean.
        levels: Of ``labels``: values met, by field.
        mean: float64 [5]; 0 for ``labels``.
        sd: float64 [5]; for ``labels`` the largest age, then 1.
    """

    coding: str
    levels: Mapping[str, tuple[str, ...]]
    mean: Floats
    sd: Floats

    @classmethod
    def fit(cls, patients: pd.DataFrame, coding: str) -> ClinicalScaling:
        """Statistics of these patients.

        Raises:
            PathomixError: None of them has an age, with ``labels``.
        """
        for step in ("imputation", "scaler", "vocabulary"):
            note_fitted(step, patients.index)
        fields, _ = clean_fields(patients)
        levels = {name: tuple(sorted(fields[name].dropna().astype(str).unique())) for name in _CODED}
        if coding == "labels":
            largest = float(patients["age"].max())
            if not np.isfinite(largest):
                raise PathomixError(
                    "no patient has an age, which the clinical token needs",
                    remedy="set `clinical_coding: ranks`, or take `clinical` out of `modalities`",
                )
            return cls(coding, levels, np.zeros(len(CLINICAL)), np.array([largest, 1.0, 1.0, 1.0, 1.0]))
        bare = cls(coding, levels, np.zeros(len(CLINICAL)), np.ones(len(CLINICAL)))
        mean, sd = moments(bare._numbers(patients))
        return cls(coding, levels, mean, sd)

    def rows(self, patients: pd.DataFrame) -> pd.DataFrame:
        """Inputs [patients, 5], float32; patients without an age are absent from the result of ``labels``."""
        scaled = (self._numbers(patients) - self.mean) / self.sd
        frame = pd.DataFrame(scaled.astype(np.float32), index=patients.index, columns=list(CLINICAL))
        return frame.dropna() if self.coding == "labels" else frame.fillna(0.0)

    def _numbers(self, patients: pd.DataFrame) -> Floats:
        fields, _ = clean_fields(patients)
        columns = [patients["age"].to_numpy(np.float64)]
        for name in _CODED:
            if self.coding == "ranks":
                columns.append(fields[name].map(_RANKS[name]).to_numpy(np.float64))
            else:
                found = pd.Index(self.levels[name]).get_indexer(pd.Index(fields[name], dtype=object))
                columns.append(np.where(found < 0, len(self.levels[name]), found).astype(np.float64))
        return np.stack(columns, axis=1)

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[np.generic]]]:
        """What `load` needs: a JSON-serialisable part and arrays."""
        described = {"coding": self.coding, "levels": {name: list(v) for name, v in self.levels.items()}}
        return described, {"clinical.mean": self.mean, "clinical.sd": self.sd}

    @classmethod
    def load(cls, described: Mapping[str, Any], arrays: Mapping[str, NDArray[np.generic]]) -> ClinicalScaling:
        """Inverse of `state`."""
        levels = {name: tuple(values) for name, values in described["levels"].items()}
        mean, sd = (arrays[f"clinical.{name}"].astype(np.float64) for name in ("mean", "sd"))
        return cls(described["coding"], levels, mean, sd)


def require_genes(genes: Sequence[str], expression: pd.DataFrame, smallest: float) -> pd.Index:
    """The genes a table lacks, after a warning that names them.

    Args:
        genes: Genes a model reads.
        expression: Patients x genes.
        smallest: Share of the genes that has to be there.

    Raises:
        PathomixError: Less than that is.
    """
    absent = pd.Index(genes).difference(expression.columns, sort=False)
    share = 1.0 - len(absent) / len(genes)
    if share < smallest:
        raise PathomixError(
            f"the cohort measures {share:.0%} of the {len(genes)} genes the model reads, less than the required "
            f"{smallest:.0%}; absent",
            offending=absent,
            remedy="use an expression table with the same gene symbols, or lower `min_gene_coverage`",
        )
    if len(absent):
        named = ", ".join(absent[:8]) + (" ..." if len(absent) > 8 else "")
        log.warning("%d of %d genes are not measured and stand at the mean: %s", len(absent), len(genes), named)
    return absent
