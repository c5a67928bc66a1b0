from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import anndata
import numpy as np
import pytest
import scipy.sparse

from pathomix.atlas.reader import AtlasFile
from pathomix.core.errors import PathomixError

Make = Callable[..., anndata.AnnData]
Store = Callable[..., Path]


@pytest.mark.parametrize("form", ["csr", "csc", "dense"])
@pytest.mark.parametrize("place", ["X", "raw", "layers/umi"])
@pytest.mark.parametrize("values", [1, 700, 1 << 20])
def test_rows_are_the_same_however_they_are_stored(
    planted: Make, stored: Store, form: str, place: str, values: int
) -> None:
    data = planted(60)
    truth = data.X.toarray()
    matrix = truth if form == "dense" else data.X.asformat(form)
    other = anndata.AnnData(scipy.sparse.csr_matrix(np.ones_like(truth)), obs=data.obs, var=data.var)
    given = anndata.AnnData(matrix, obs=data.obs, var=data.var) if place != "layers/umi" else other
    if place == "raw":
        other.raw = given
        given = other
    if place == "layers/umi":
        given.layers["umi"] = matrix
    rows = np.flatnonzero(np.random.default_rng(1).random(60) < 0.4)
    with AtlasFile(stored(given)) as file:
        assert place in file.sources
        chunks = list(file.chunks(place, rows, values))
    assert np.concatenate([chunk.rows for chunk in chunks]).tolist() == rows.tolist()
    np.testing.assert_array_equal(scipy.sparse.vstack([chunk.matrix for chunk in chunks]).toarray(), truth[rows])
    if values < 1 << 20:
        assert len(chunks) > 1 and max(chunk.matrix.nnz for chunk in chunks) <= max(2 * values, len(data.var))


@pytest.mark.parametrize("form", ["csr", "dense"])
def test_memory_follows_the_cells_that_are_asked_for(stored: Store, form: str) -> None:
    counts = np.random.default_rng(0).poisson(1.0, (4000, 500)).astype(np.float32)
    path = stored(anndata.AnnData(scipy.sparse.csr_matrix(counts) if form == "csr" else counts))
    rows = np.arange(0, 4000, 100)
    with AtlasFile(path) as file:
        next(file.chunks("X", rows, 20_000))
        tracemalloc.start()
        parts = [chunk.matrix for chunk in file.chunks("X", rows, 20_000)]
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    np.testing.assert_array_equal(scipy.sparse.vstack(parts).toarray(), counts[rows])
    assert peak < counts.nbytes / 8


def test_stored_zeros_and_unsorted_columns_are_put_right(planted: Make, stored: Store) -> None:
    data = planted(10)
    matrix = scipy.sparse.csr_matrix(
        (np.array([1.0, 2.0, 0.0, 3.0], np.float32), np.array([5, 2, 1, 0]), np.array([0, 2, 4, *[4] * 8])),
        shape=data.shape,
    )
    with AtlasFile(stored(anndata.AnnData(matrix, obs=data.obs, var=data.var))) as file:
        (chunk,) = file.chunks("X", np.arange(10))
    assert chunk.matrix.indices.tolist() == [2, 5, 0] and chunk.matrix.data.tolist() == [2, 1, 3]


def test_names_and_columns(planted: Make, stored: Store) -> None:
    data = planted(20)
    with AtlasFile(stored(data)) as file:
        assert file.cells().tolist() == list(data.obs_names)
        assert file.genes("X", None).tolist() == list(data.var_names)
        assert file.genes("X", "feature_name").tolist() == list(data.var["feature_name"])
        assert file.column("cell_type").tolist() == list(data.obs["cell_type"])
        with pytest.raises(PathomixError, match=r"no column 'kind' in obs; use one of cell_type, donor"):
            file.column("kind")
        with pytest.raises(PathomixError, match="no column 'symbol' in var"):
            file.genes("X", "symbol")
        with pytest.raises(PathomixError, match=r"no layers/x; use one of \['X'\]"):
            next(file.chunks("layers/x", np.arange(3)))


def test_doubles_and_gaps_are_named(planted: Make, stored: Store, tmp_path: Path) -> None:
    data = planted(20)
    data.obs_names = ["twin", "twin", *data.obs_names[2:]]
    data.var["feature_name"] = ["S", "S", *data.var["feature_name"][2:]]
    data.var["gap"] = [None, *data.var["feature_name"][1:]]
    with AtlasFile(stored(data)) as file:
        with pytest.raises(PathomixError, match="stand more than once: twin;"):
            file.cells()
        with pytest.raises(PathomixError, match="stand more than once: S;"):
            file.genes("X", "feature_name")
        with pytest.raises(PathomixError, match="missing in rows: 0;"):
            file.genes("X", "gap")
    (tmp_path / "text.h5ad").write_text("no")
    with pytest.raises(PathomixError, match="cannot be read"):
        AtlasFile(tmp_path / "text.h5ad")
