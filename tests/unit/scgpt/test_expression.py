"""What is no expression is refused with the reason and named; logarithms are undone."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
from numpy.typing import NDArray

from pathomix.core.errors import PathomixError
from pathomix.scgpt.expression import by_rows, check_expression, linear_expression

IDS, GENES = ["P1", "P2", "P3", "P4"], ["A", "B", "C"]


@pytest.fixture
def table() -> NDArray[np.float64]:
    return np.random.default_rng(0).lognormal(size=(4, 3))


@pytest.mark.parametrize("form", [np.asarray, scipy.sparse.csr_matrix, scipy.sparse.csc_array])
@pytest.mark.parametrize(("value", "message"), [(np.nan, "NaN or infinity: P3 B;"), (np.inf, "NaN or infinity: P3 B;"),
                                                (-0.5, "down to -0.5: .*: P3 B;")])  # fmt: skip
def test_impossible_values_are_named(table: NDArray, form: object, value: float, message: str) -> None:
    table[2, 1] = value
    table[0, 0] = 0.0
    with pytest.raises(PathomixError, match=message):
        check_expression(by_rows(form(table)), IDS, GENES)  # type: ignore[operator]


def test_negative_values_have_a_reason() -> None:
    generator = np.random.default_rng(1)
    raw = generator.lognormal(3, 1, (50, 40)) * generator.lognormal(size=40)
    ids, genes = [f"P{i}" for i in range(50)], [f"G{i}" for i in range(40)]
    log = np.log2(raw)
    tables = {
        "z-scores per gene": (log - log.mean(axis=0)) / log.std(axis=0),
        "centred per gene": 3 * (log - log.mean(axis=0)),
        r"log2\(x \+ 0.001\)": np.log2(np.where(raw < 10, 0, raw) + 0.001),
        "a logarithm or a difference": log - 4,
    }
    for reason, table in tables.items():
        with pytest.raises(PathomixError, match=reason):
            check_expression(table, ids, genes)
        with pytest.raises(PathomixError, match=reason):
            check_expression(by_rows(scipy.sparse.csr_matrix(table)), ids, genes)


def test_shapes_ids_and_types(table: NDArray) -> None:
    check_expression(table, IDS, GENES)
    check_expression(table.astype(np.int32), IDS, GENES)
    with pytest.raises(PathomixError, match=r"shape \(4, 3\) for 3 samples and 4 genes"):
        check_expression(table, GENES, IDS)
    with pytest.raises(PathomixError, match=r"more than once .*: P1;"):
        check_expression(table, ["P1", "P1", "P2", "P3"], GENES)
    with pytest.raises(PathomixError, match="of type object"):
        check_expression(table.astype(object), IDS, GENES)


@pytest.mark.parametrize(
    ("scale", "logarithm"),
    [
        ("log2_tpm_plus_1", lambda x: np.log2(x + 1)),
        ("log2_tpm_plus_0.001", lambda x: np.log2(x + 0.001)),
        ("log1p", np.log1p),
        ("tpm", lambda x: x),
        ("counts", lambda x: x),
    ],
)
def test_logarithms_are_undone_and_zeros_are_zero(scale: str, logarithm: object) -> None:
    linear = np.array([[0.0, 0.01, 1.0, 250.0], [0.0, 0.0, 3.5, 90_000.0]])
    # Four decimals, as in public tables.
    stored = np.round(logarithm(linear), 4).astype(np.float32)  # type: ignore[operator]
    undone = linear_expression(stored, scale)
    assert (undone[linear == 0] == 0).all()
    np.testing.assert_allclose(undone, linear, rtol=0.02)


def test_sparse_logarithms() -> None:
    linear = np.array([[0.0, 2.0], [5.0, 0.0]])
    undone = linear_expression(scipy.sparse.csr_matrix(np.log1p(linear)), "log1p")
    assert undone.nnz == 2
    np.testing.assert_allclose(undone.toarray(), linear)
    with pytest.raises(PathomixError, match=r"zero is no logarithm of 0.001"):
        linear_expression(scipy.sparse.csr_matrix(linear), "log2_tpm_plus_0.001")


@pytest.mark.parametrize("scale", ["zscore", "log2_norm_count_centred"])
def test_scales_without_ranks_are_refused(table: NDArray, scale: str) -> None:
    with pytest.raises(PathomixError, match=f"scale {scale}: .*no ranks"):
        linear_expression(table, scale)


def test_unknown_scales_are_refused(table: NDArray) -> None:
    with pytest.raises(PathomixError, match="unknown scale 'log2'"):
        linear_expression(table, "log2")


def test_stored_duplicates_are_summed_without_touching_the_original() -> None:
    given = scipy.sparse.csr_matrix((np.array([1.0, 2.0, 4.0]), np.array([2, 2, 0]), np.array([0, 3])), shape=(1, 3))
    assert by_rows(given).toarray().tolist() == [[4.0, 0.0, 3.0]]
    assert given.nnz == 3
