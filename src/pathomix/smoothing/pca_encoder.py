"""Principal components of log-expression: what a foundation model has to be better than (spec path_gptomic 10.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from pathomix.core.errors import PathomixError
from pathomix.core.parameters import filled
from pathomix.scgpt.expression import Matrix, by_rows, check_expression
from pathomix.smoothing.cells import AtlasCells
from pathomix.smoothing.encoders import (
    Embedded,
    State,
    as_text,
    from_text,
    names_digest,
    require_fitted_with,
    require_genes,
)
from pathomix.smoothing.mixing import in_space

# Up to here the covariance of the genes is decomposed whole.
_WHOLE = 2000
_NOTHING = "no gene of the panel is expressed"


@dataclass(frozen=True)
class Settings:
    """Parameters.

    Attributes:
        dimensions: Components kept.
        seed: Of the iterative solver, which is used above 2,000 genes.
    """

    dimensions: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        if self.dimensions < 1 or self.seed < 0:
            raise PathomixError("expression encoder pca: dimensions below 1 or seed below 0", remedy="correct them")


class PcaEncoder:
    """Log of counts per 10,000 of the genes that atlas and bulk share, projected on the atlas's components.

    Args:
        given: Fields of `Settings`.
    """

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.settings = filled(Settings, given, "expression encoder pca")

    def fit(self, atlas: AtlasCells, tables: Sequence[Sequence[str]]) -> FittedPca:
        """Fit on the cells of the training part.

        Args:
            atlas: Labelled cells.
            tables: Gene names of the bulk tables.

        Raises:
            PathomixError: No gene is common to all, or there are fewer cells or genes than dimensions.
        """
        from sklearn.decomposition import PCA

        panel = _panel(atlas.genes, tables)
        train = atlas.rows("train")
        least = min(len(train), len(panel))
        if least <= self.settings.dimensions:
            raise PathomixError(
                f"{self.settings.dimensions} components of {len(train)} cells and {len(panel)} genes",
                remedy=f"set `dimensions` below {least}",
            )
        values = in_space(_columns(atlas.counts[train], atlas.genes, panel), "log1p")
        solver = "covariance_eigh" if len(panel) <= _WHOLE else "arpack"
        pca = PCA(self.settings.dimensions, svd_solver=solver, random_state=self.settings.seed).fit(values)
        return FittedPca(self.settings, panel, pca.mean_, pca.components_)

    def rebuilt(self, arrays: State, facts: Mapping[str, Any]) -> FittedPca:
        """Inverse of `FittedPca.state`.

        Raises:
            PathomixError: It was fitted with other parameters.
        """
        require_fitted_with(facts, asdict(self.settings))
        mean, components = (np.asarray(arrays[name], np.float64) for name in ("mean", "components"))
        return FittedPca(self.settings, tuple(from_text(arrays["panel"])), mean, components)


class FittedPca:
    """A fitted projection.

    Args:
        settings: As configured.
        panel: Genes, sorted.
        mean: float64 [genes].
        components: float64 [dimensions, genes].
    """

    def __init__(
        self, settings: Settings, panel: tuple[str, ...], mean: NDArray[np.float64], components: NDArray[np.float64]
    ) -> None:
        self._settings, self._panel = settings, panel
        self._mean, self._components = mean, components

    @property
    def dim(self) -> int:
        """Components."""
        return len(self._components)

    @property
    def protocol(self) -> dict[str, Any]:
        """Settings, panel and the digest of mean and components."""
        fitted = names_digest([self._mean.tobytes().hex(), self._components.tobytes().hex()])
        return {"encoder": "pca", **asdict(self._settings), "panel": names_digest(self._panel), "fitted": fitted}

    def readable(self, genes: Sequence[str]) -> NDArray[np.bool_]:
        """Which columns are genes of the panel."""
        panel = set(self._panel)
        return np.array([gene in panel for gene in genes], dtype=bool)

    def embed(self, matrix: Matrix, ids: Sequence[str], genes: Sequence[str]) -> Embedded:
        """Project profiles.

        Args:
            matrix: Profiles x genes, linear scale.
            ids: Of the profiles, each once.
            genes: Names of the columns; columns of one gene are summed.

        Raises:
            PathomixError: Expression that is negative or not finite, or a gene of the panel is not there.
        """
        matrix = by_rows(matrix)
        check_expression(matrix, ids, genes)
        require_genes(set(self._panel) - set(genes), "this table")
        # As CSR whatever it came as: a row's result is then the same in any company.
        panel = _columns(scipy.sparse.csr_matrix(matrix), genes, self._panel)
        values = in_space(panel, "log1p")
        vectors = np.asarray(values @ self._components.T - self._components @ self._mean, dtype=np.float32)
        empty = np.asarray(panel.sum(axis=1)).ravel() <= 0
        vectors[empty] = np.nan
        return Embedded(vectors, [_NOTHING if nothing else "" for nothing in empty])

    def state(self) -> tuple[State, dict[str, Any]]:
        """Arrays `panel`, `mean`, `components`; the settings."""
        arrays: State = {"panel": as_text(self._panel), "mean": self._mean, "components": self._components}
        return arrays, {"settings": asdict(self._settings)}


def _panel(genes: Sequence[str], tables: Sequence[Sequence[str]]) -> tuple[str, ...]:
    common = set(genes).intersection(*map(set, tables))
    if not common:
        raise PathomixError(
            "no gene is common to the atlas and all bulk tables",
            offending=list(genes[:4]),
            remedy="give both the same gene symbols",
        )
    return tuple(sorted(common))


def _columns(matrix: Matrix, genes: Sequence[str], panel: Sequence[str]) -> Matrix:
    """CSR [rows, panel] of a CSR matrix, columns of one gene summed."""
    place = {gene: number for number, gene in enumerate(panel)}
    used = [(column, place[gene]) for column, gene in enumerate(genes) if gene in place]
    columns, targets = np.array(used, dtype=np.int64).T
    chosen = scipy.sparse.csr_matrix((np.ones(len(used)), (columns, targets)), shape=(matrix.shape[1], len(panel)))
    result = scipy.sparse.csr_matrix(matrix.astype(np.float64) @ chosen)
    result.eliminate_zeros()
    result.sort_indices()
    return result
