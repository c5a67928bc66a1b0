"""What expression scGPT can read: linear, finite, never negative (spec scgpt 4.3 and 5)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from pathomix.core.errors import PathomixError

Matrix: TypeAlias = Any
"""Samples x genes: a NumPy array or a SciPy sparse matrix."""

LINEAR = ("counts", "tpm", "fpkm", "cp10k", "norm_count")
_LOG2 = re.compile(r"^log2_(?:tpm|fpkm|norm_count|cp10k|counts)_plus_([0-9.]+)$")
_RANKLESS = ("log2_norm_count_centred", "zscore")
# Tables carry four decimals of the logarithm: what is this small against the offset was zero.
_ROUNDING = 1e-4


def linear_expression(matrix: Matrix, scale: str) -> Matrix:
    """Expression on its linear scale, zeros exactly zero.

    Args:
        matrix: Samples x genes.
        scale: One of `LINEAR`, ``log1p`` (natural), or ``log2_<unit>_plus_<offset>``.

    Raises:
        PathomixError: An unknown scale, or one on which a sample's genes cannot be ranked.
    """
    if scale in _RANKLESS:
        raise PathomixError(
            f"scale {scale}: values are relative to each gene's own mean, so the genes of one sample have no ranks, "
            "and ranks are all that scGPT reads",
            remedy="give TPM, FPKM or counts, or their logarithms, of the same samples",
        )
    if scale in LINEAR:
        return matrix
    match = _LOG2.match(scale)
    if match is None and scale != "log1p":
        raise PathomixError(
            f"unknown scale {scale!r}", remedy=f"use one of {list(LINEAR)}, log1p, or like log2_tpm_plus_1"
        )
    offset = float(match.group(1)) if match else 1.0
    if scipy.sparse.issparse(matrix):
        if offset != 1.0:
            raise PathomixError(
                f"scale {scale}: a sparse matrix leaves out zeros, and zero is no logarithm of {offset:g}",
                remedy="give the table as a dense matrix",
            )
        result = matrix.astype(np.float64)
        result.data = _undone(result.data, offset, match is None)
        return result
    return _undone(np.asarray(matrix, np.float64), offset, match is None)


def _undone(values: NDArray[np.float64], offset: float, natural: bool) -> NDArray[np.float64]:
    linear = np.expm1(values) if natural else np.exp2(values) - offset
    linear[np.abs(linear) < _ROUNDING * offset] = 0.0
    return linear


def by_rows(matrix: Matrix) -> Matrix:
    """The matrix as a NumPy array, or as CSR with each place stored once and columns in order."""
    if not scipy.sparse.issparse(matrix):
        return np.asarray(matrix)
    rows = matrix.tocsr()
    if not rows.has_canonical_format:
        rows = rows.copy()
        rows.sum_duplicates()
    return rows


def check_expression(matrix: Matrix, ids: Sequence[str], genes: Sequence[str]) -> None:
    """Refuse what would be ranked silently and wrongly.

    Args:
        matrix: Samples x genes, a NumPy array or CSR.
        ids: Samples.
        genes: Genes.

    Raises:
        PathomixError: Sizes do not fit; an id appears twice; a value is no finite number or negative. Samples and
            genes are named, and for negative values the likely reason.
    """
    if matrix.shape != (len(ids), len(genes)):
        raise PathomixError(
            f"expression of shape {matrix.shape} for {len(ids)} samples and {len(genes)} genes",
            remedy="give samples as rows and genes as columns",
        )
    if len(set(ids)) < len(ids):
        seen: set[str] = set()
        double = [name for name in ids if name in seen or seen.add(name)]  # type: ignore[func-returns-value]
        raise PathomixError(
            "sample ids appear more than once (draws are keyed by id)", offending=double, remedy="make them unique"
        )
    values = matrix.data if scipy.sparse.issparse(matrix) else matrix
    if not np.issubdtype(values.dtype, np.number) or np.iscomplexobj(values):
        raise PathomixError(f"expression of type {values.dtype}", remedy="give numbers")
    if not np.isfinite(values).all():
        places = _places(~np.isfinite(values), matrix)
        raise PathomixError(
            "expression holds NaN or infinity", offending=_named(places, ids, genes), remedy="drop or repair these"
        )
    if values.size and values.min() < 0:
        places = _places(values < 0, matrix)
        raise PathomixError(
            f"expression goes down to {values.min():g}: {_reason(matrix)}",
            offending=_named(places, ids, genes),
            remedy="scGPT ranks a sample's genes by expression; give TPM, FPKM or counts, or undo the logarithm",
        )


def _places(wrong: NDArray[np.bool_], matrix: Matrix) -> NDArray[np.int64]:
    """(row, column) of the first wrong values."""
    if scipy.sparse.issparse(matrix):
        flat = np.flatnonzero(wrong)[:8]
        rows = np.searchsorted(matrix.indptr, flat, side="right") - 1
        return np.stack([rows, matrix.indices[flat]], axis=1)
    return np.argwhere(wrong)[:8]


def _named(places: NDArray[np.int64], ids: Sequence[str], genes: Sequence[str]) -> list[str]:
    return [f"{ids[row]} {genes[column]}" for row, column in places]


def _reason(matrix: Matrix) -> str:
    """Why expression may be negative."""
    rows = matrix[:200]
    dense = np.asarray(rows.todense() if scipy.sparse.issparse(rows) else rows, np.float64)
    deviation = dense.std(axis=0)
    if len(dense) > 2 and np.median(np.abs(dense.mean(axis=0)) / np.maximum(deviation, 1e-12)) < 0.3:
        spread = np.median(deviation)
        kind = "z-scores per gene" if 0.7 < spread < 1.3 else "centred per gene"
        return f"looks like {kind}, which leaves no ranks among the genes of a sample"
    if np.isclose(dense.min(), np.log2(0.001), atol=1e-3):
        return "looks like log2(x + 0.001), whose offset has to be undone (scale log2_tpm_plus_0.001)"
    return "a logarithm or a difference, not expression"
