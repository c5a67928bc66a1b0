"""A small labelled atlas whose truth is known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse

CLASSES = ("T cell", "B cell", "neuron")
GENES = [f"G{i}" for i in range(38)] + ["MT-ND1", "mt-co1"]


@pytest.fixture(scope="session")
def planted() -> Callable[..., anndata.AnnData]:
    """Function: cells of three types and five donors, CSR counts, `truth` = number of cells."""

    def make(cells: int = 150, seed: int = 0) -> anndata.AnnData:
        random = np.random.default_rng(seed)
        kind = random.integers(0, len(CLASSES), cells)
        profile = random.gamma(1.0, 2.0, (len(CLASSES), len(GENES)))
        counts = random.poisson(profile[kind])
        counts[:, 0] += 1
        obs = pd.DataFrame(
            {
                "cell_type": pd.Categorical(np.array(CLASSES)[kind]),
                "donor": pd.Categorical([f"d{i}" for i in random.integers(0, 5, cells)]),
            },
            index=[f"cell{i:04d}" for i in random.permutation(cells)],
        )
        var = pd.DataFrame({"feature_name": [f"S_{gene}" for gene in GENES]}, index=GENES)
        return anndata.AnnData(scipy.sparse.csr_matrix(counts.astype(np.float32)), obs=obs, var=var)

    return make


@pytest.fixture
def stored(tmp_path: Path) -> Callable[..., Path]:
    """Function: write an AnnData file and give its path."""

    def write(data: anndata.AnnData, name: str = "given.h5ad") -> Path:
        data.write_h5ad(tmp_path / name)
        return tmp_path / name

    return write


@pytest.fixture(scope="session")
def dense() -> Callable[[Any], np.ndarray]:
    """Function: a matrix, sparse or not, as an array."""
    return lambda matrix: matrix.toarray() if scipy.sparse.issparse(matrix) else np.asarray(matrix)
