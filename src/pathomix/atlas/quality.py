"""Quality of cells by scanpy's metrics."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pathomix.atlas.parameters import AtlasParameters
from pathomix.core.errors import PathomixError

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

_FAMILY = "mitochondrial"


def mitochondrial(genes: NDArray[np.object_], prefix: str) -> NDArray[np.bool_]:
    """Which symbols begin with `prefix`, in any case."""
    return np.array([gene.upper().startswith(prefix.upper()) for gene in genes], dtype=bool)


def cell_metrics(matrices: Iterable[csr_matrix], genes: NDArray[np.object_], prefix: str) -> pd.DataFrame:
    """`genes`, `total` and `mitochondrial` (share, 0 to 1) of each cell, by scanpy's `calculate_qc_metrics`.

    Args:
        matrices: Linear expression of the cells, some at a time.
        genes: Symbols.
        prefix: What symbols of mitochondrial genes begin with.
    """
    import anndata
    import scanpy

    var = pd.DataFrame({_FAMILY: mitochondrial(genes, prefix)}, index=pd.Index(genes))
    tables = []
    for matrix in matrices:
        # Sums of float32 would depend on how the library adds.
        data = anndata.AnnData(matrix.astype(np.float64), var=var)
        with np.errstate(invalid="ignore"):
            table, _ = scanpy.pp.calculate_qc_metrics(data, qc_vars=[_FAMILY], percent_top=None, log1p=False)
        tables.append(
            pd.DataFrame(
                {
                    "genes": table["n_genes_by_counts"].to_numpy(),
                    "total": table["total_counts"].to_numpy(),
                    _FAMILY: table[f"pct_counts_{_FAMILY}"].fillna(0.0).to_numpy() / 100,
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


def failures(metrics: pd.DataFrame, parameters: AtlasParameters) -> NDArray[np.object_]:
    """Why each cell is dropped, ``""`` where it is kept; a cell that fails twice has the first reason.

    Raises:
        PathomixError: A largest mitochondrial share is asked for and no gene is mitochondrial.
    """
    share = metrics[_FAMILY]
    if parameters.max_mitochondrial_share < 1 and not share.any():
        raise PathomixError(
            f"no cell expresses a gene that begins with {parameters.mitochondrial_prefix}, "
            "so max_mitochondrial_share has nothing to look at",
            remedy="correct mitochondrial_prefix, name the symbols with gene_key, or leave out max_mitochondrial_share",
        )
    rules = {
        "all zero": metrics["genes"] == 0,
        f"fewer than {parameters.min_genes} genes": metrics["genes"] < parameters.min_genes,
        f"fewer than {parameters.min_counts:g} counts": metrics["total"] < parameters.min_counts,
        f"mitochondrial share above {parameters.max_mitochondrial_share:g}": share > parameters.max_mitochondrial_share,
    }
    result = np.full(len(metrics), "", dtype=object)
    for reason, fails in reversed(rules.items()):
        result[fails.to_numpy()] = reason
    return result
