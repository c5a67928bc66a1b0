from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pytest
import scanpy
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from pathomix.atlas.counts import Expression, find_expression, whole_multiples
from pathomix.atlas.parameters import AtlasParameters
from pathomix.atlas.reader import AtlasFile
from pathomix.core.errors import PathomixError

Make = Callable[..., anndata.AnnData]
Store = Callable[..., Path]


def found(path: Path, **parameters: Any) -> tuple[Expression, np.ndarray]:
    """The decision, and linear expression of all cells."""
    with AtlasFile(path) as file:
        cells = file.cells()
        rows = np.arange(len(cells))
        result = find_expression(file, rows, cells, AtlasParameters("cell_type", **parameters))
        matrices = [result.of(chunk.matrix) for chunk in file.chunks(result.source, rows)]
        return result, scipy.sparse.vstack(matrices).toarray()


def normalised(data: anndata.AnnData, target: float = 1e4, logarithm: bool = True) -> anndata.AnnData:
    result = data.copy()
    scanpy.pp.normalize_total(result, target_sum=target)
    if logarithm:
        scanpy.pp.log1p(result)
    return result


def relative(counts: np.ndarray) -> np.ndarray:
    return counts / np.gcd.reduce(counts.astype(np.int64), axis=1)[:, None]


@pytest.mark.parametrize("place", ["X", "raw", "layers/counts", "layers/umi"])
def test_counts_are_found_where_they_are(planted: Make, stored: Store, place: str) -> None:
    data = planted(40)
    scaled = anndata.AnnData(data.X.toarray() - 1.5, obs=data.obs, var=data.var)
    if place == "raw":
        scaled.raw = data
    elif place != "X":
        scaled.layers[place.partition("/")[2]] = data.X
    path = stored(data if place == "X" else scaled)
    result, values = found(path, **({"counts": place} if place == "layers/umi" else {}))
    assert (result.source, result.scale, result.form) == (place, "counts", "counts")
    np.testing.assert_array_equal(values, data.X.toarray())
    assert values.dtype == np.float32


@pytest.mark.parametrize("logarithm", [True, False])
@pytest.mark.parametrize("target", [1.0, 1e4, None])
def test_counts_are_recovered_from_normalised_ones(
    planted: Make, stored: Store, target: float | None, logarithm: bool
) -> None:
    data = planted(60)
    data.X.data[::7] *= 300
    given = normalised(data, target, logarithm)[:, 5:].copy()  # a subset of the genes is enough
    result, values = found(stored(given))
    assert result.scale == "counts" and result.form == ("log1p of " if logarithm else "") + "normalised counts"
    np.testing.assert_array_equal(values, relative(data.X.toarray()[:, 5:]))


def test_counts_are_recovered_from_rounded_logarithms(planted: Make, stored: Store) -> None:
    data = planted(60)
    given = normalised(data)
    given.X.data = given.X.data.round(3)
    result, values = found(stored(given))
    assert result.scale == "counts" and result.rounding > 0
    np.testing.assert_array_equal(values, relative(data.X.toarray()))


def test_rounding_is_only_allowed_where_values_are_rounded(planted: Make, stored: Store) -> None:
    data = planted(60)
    given = normalised(data)
    given.X.data = given.X.data.round(3) + np.float32(3e-4)
    with pytest.raises(PathomixError, match="no counts"):
        found(stored(given))


def test_counts_come_before_normalised_ones(planted: Make, stored: Store) -> None:
    data = planted(30)
    given = normalised(data)
    given.raw = given.copy()
    given.layers["counts"] = data.X
    assert found(stored(given))[0].source == "layers/counts"


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(st.integers(1, 5000), min_size=1, max_size=12), min_size=1, max_size=6),
    st.floats(1e-6, 1e6),
)
def test_multiples_of_any_unit_are_whole(rows: list[list[int]], unit: float) -> None:
    counts = np.array([value for row in rows for value in row], dtype=np.float64)
    indptr = np.cumsum([0, *map(len, rows)])
    scale = np.repeat(unit * np.arange(1, len(rows) + 1), np.diff(indptr))
    linear = (counts * scale).astype(np.float32).astype(np.float64)
    multiples, fits = whole_multiples(linear, linear * 2.0**-22, indptr)
    for row, (first, last) in enumerate(pairwise(indptr)):
        reduced = counts[first:last] / np.gcd.reduce(counts[first:last].astype(np.int64))
        if reduced.min() <= 8:
            assert fits[row]
            np.testing.assert_array_equal(multiples[first:last], reduced)


def test_no_multiples_are_made_of_noise() -> None:
    linear = np.random.default_rng(0).uniform(1, 20, 400)
    assert not whole_multiples(linear, linear * 2.0**-22, np.arange(0, 401, 20))[1].any()
    assert not whole_multiples(linear, linear * 2.0**-22 + 5e-4, np.arange(0, 401, 20))[1].any()


def test_errors_too_large_to_tell_one_number_from_the_next_do_not_fit() -> None:
    linear = np.array([1.0, 2.0, 400.0])
    assert whole_multiples(linear, linear * 1e-4, [0, 3])[1].all()
    assert not whole_multiples(linear, linear * 1e-3, [0, 3])[1].any()


def test_expression_without_counts_has_to_be_declared(planted: Make, stored: Store) -> None:
    data = planted(40)
    data.X.data = data.X.data * np.random.default_rng(0).uniform(0.5, 1.5, data.X.nnz).astype(np.float32)
    logs = normalised(data)
    path = stored(logs)
    with pytest.raises(PathomixError, match=r"no counts \(X: fractions .*scale: log_normalised"):
        found(path)
    result, values = found(path, scale="log_normalised")
    assert result.scale == "linear"
    np.testing.assert_allclose(values.sum(axis=1), 1e4, rtol=1e-4)
    result, values = found(stored(data, "linear.h5ad"), scale="linear")
    np.testing.assert_array_equal(values, data.X.toarray())


def test_scaled_values_are_refused_and_raw_is_named(planted: Make, stored: Store) -> None:
    data = planted(40)
    scaled = anndata.AnnData(data.X.toarray() - 1.5, obs=data.obs, var=data.var)
    with pytest.raises(PathomixError, match=r"X: negative values\): cell\d+ G\d+.*scaled or centred") as error:
        found(stored(scaled))
    assert ".raw" not in str(error.value)
    scaled.raw = data
    for scale in ("counts", "linear"):
        with pytest.raises(PathomixError, match=r"\.raw may hold others.*counts: raw"):
            found(stored(scaled), counts="X", scale=scale)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_the_cell_and_gene_of_a_nan_are_named(planted: Make, stored: Store, value: float) -> None:
    data = planted(40)
    data.X[7, 3] = value
    with pytest.raises(PathomixError, match=f"NaN or infinity.*{data.obs_names[7]} G3;"):
        found(stored(data))


def test_declarations_that_cannot_be_true(planted: Make, stored: Store) -> None:
    data = planted(40)
    with pytest.raises(PathomixError, match="X holds counts, but scale is linear"):
        found(stored(data), scale="linear")
    data.X.data += 100.5
    with pytest.raises(PathomixError, match="no natural logarithm"):
        found(stored(data), scale="log_normalised")


def test_cells_that_are_not_asked_for_do_not_count(planted: Make, stored: Store) -> None:
    data = planted(40)
    data.X[7, 3] = -1
    with AtlasFile(stored(data)) as file:
        rows = np.delete(np.arange(40), 7)
        assert find_expression(file, rows, file.cells(), AtlasParameters("cell_type")).form == "counts"
