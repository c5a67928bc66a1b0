"""AnnData files by rows: labels in memory, the matrix in chunks, however it is stored."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse
from numpy.typing import NDArray

from pathomix.core.errors import PathomixError

if TYPE_CHECKING:
    from types import TracebackType

    from scipy.sparse import csr_matrix

# Values in memory at a time (a dense chunk of 32 MiB, a sparse one of about three times that).
_VALUES = 1 << 23


@dataclass(frozen=True)
class Chunk:
    """Some cells.

    Attributes:
        rows: Their rows in the file, ascending.
        matrix: Cells x genes, CSR without stored zeros, columns in order.
    """

    rows: NDArray[np.int64]
    matrix: csr_matrix


class AtlasFile:
    """An AnnData file, open for reading; use it in a ``with`` statement.

    Args:
        path: The file; also one of AnnData before 0.7.

    Raises:
        PathomixError: It is no AnnData file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        import h5py

        self.path = str(path)
        try:
            self._file = h5py.File(path, "r")
        except OSError as error:
            raise PathomixError(f"{path}: cannot be read ({error})", remedy="give an AnnData file (.h5ad)") from error
        absent = [key for key in ("obs", "var", "X") if key not in self._file]
        if absent and absent != ["X"]:
            self._file.close()
            raise PathomixError(f"{path}: no AnnData file, it lacks", offending=absent, remedy="give an .h5ad file")
        # Tables of AnnData before 0.7 keep their categories elsewhere in the file.
        self._old = isinstance(self._file["obs"], h5py.Dataset)
        self._tables = _old_tables(path) if self._old else {}

    def __enter__(self) -> AtlasFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def sources(self) -> list[str]:
        """Where matrices are: ``raw``, ``X``, ``layers/<name>``."""
        found = ["raw"] if self._raw in self._file else []
        found += ["X"] if "X" in self._file else []
        return found + [f"layers/{name}" for name in sorted(self._file.get("layers", ()))]

    @property
    def _raw(self) -> str:
        return "raw.X" if self._old else "raw/X"

    def cells(self) -> NDArray[np.object_]:
        """Names of the cells.

        Raises:
            PathomixError: A name stands twice.
        """
        return _unique(self._index("obs"), f"{self.path}: names of cells", "make obs_names unique")

    def column(self, key: str) -> pd.Series:
        """A column of ``obs``.

        Raises:
            PathomixError: There is none.
        """
        return self._column("obs", key)

    def genes(self, source: str, key: str | None) -> NDArray[np.object_]:
        """Symbols of the genes of a matrix.

        Args:
            source: One of `sources`.
            key: Column with the symbols; None: the index.

        Raises:
            PathomixError: There is no such column, a symbol is missing or stands twice.
        """
        table = self._var(source)
        names = self._index(table) if key is None else self._column(table, key)
        where = f"{self.path}: gene symbols ({key or 'index'} of {table})"
        empty = names.isna() | (names.astype(str).str.strip() == "")
        if empty.any():
            raise PathomixError(
                f"{where} are missing in rows", offending=np.flatnonzero(empty), remedy="fill or drop these genes"
            )
        return _unique(names, where, "add up or drop these genes, or name another column with gene_key")

    def index_of_genes(self, source: str) -> list[str]:
        """Names in the index of ``var``, for messages."""
        return list(self._index(self._var(source)).astype(str))

    def chunks(self, source: str, rows: NDArray[np.int64], values: int = _VALUES) -> Iterator[Chunk]:
        """The cells `rows` (ascending), some at a time; of a matrix stored by columns each chunk reads all of it.

        Raises:
            PathomixError: There is no such matrix, or its size does not fit.
        """
        matrix, per_row = self._matrix(source)
        step = max(1, int(values / max(per_row, 1.0)))
        for start in range(0, matrix.shape[0], step):
            chosen = rows[np.searchsorted(rows, start) : np.searchsorted(rows, start + step)]
            if len(chosen):
                first, last = int(chosen[0]), int(chosen[-1]) + 1
                part = _rows(matrix, first, last, values)[chosen - first]
                part.sum_duplicates()
                part.eliminate_zeros()
                yield Chunk(chosen, part)

    def _var(self, source: str) -> str:
        return "var" if source != "raw" else "raw.var" if self._old else "raw/var"

    def _matrix(self, source: str) -> tuple[Any, float]:
        """The matrix on disk and its values per row."""
        import h5py
        from anndata.io import sparse_dataset

        if source not in self.sources:
            raise PathomixError(f"{self.path}: no {source}", remedy=f"use one of {self.sources}")
        node = self._file[self._raw if source == "raw" else source]
        matrix = node if isinstance(node, h5py.Dataset) else sparse_dataset(node)
        count = matrix.shape[1] if matrix is node else node["data"].shape[0] / max(matrix.shape[0], 1)
        return matrix, float(count)

    def _index(self, table: str) -> pd.Series:
        from anndata.io import read_elem

        if table in self._tables:
            return pd.Series(self._tables[table].index.astype(str), dtype=object)
        group = self._file[table]
        return pd.Series(read_elem(group[group.attrs["_index"]]), dtype=object)

    def _column(self, table: str, key: str) -> pd.Series:
        from anndata.io import read_elem

        known = list(self._tables[table].columns) if table in self._tables else self._names(table)
        if key not in known:
            raise PathomixError(
                f"{self.path}: no column {key!r} in {table}", remedy=f"use one of {', '.join(sorted(known))}"
            )
        if table in self._tables:
            return self._tables[table][key].reset_index(drop=True)
        group = self._file[table]
        # Before encoding 0.2 the categories of a column lie beside it, and only the whole table knows them.
        whole = group.attrs.get("encoding-version") != "0.2.0"
        return pd.Series(read_elem(group)[key].to_numpy()) if whole else pd.Series(read_elem(group[key]))

    def _names(self, table: str) -> list[str]:
        return [str(name) for name in self._file[table].attrs["column-order"]]


def _old_tables(path: str | os.PathLike[str]) -> dict[str, pd.DataFrame]:
    import warnings

    import anndata

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = anndata.read_h5ad(path, backed="r")
    tables = {"obs": data.obs, "var": data.var}
    if data.raw is not None:
        tables["raw.var"] = data.raw.var
    data.file.close()
    return tables


def _rows(matrix: Any, first: int, last: int, values: int) -> csr_matrix:
    """Rows first to last as CSR in memory."""
    if getattr(matrix, "format", "") != "csc":
        return scipy.sparse.csr_matrix(matrix[first:last])
    step = max(1, values // max(matrix.shape[0], 1))
    parts = [matrix[:, a : a + step].tocsr()[first:last] for a in range(0, matrix.shape[1], step)]
    return scipy.sparse.csr_matrix(scipy.sparse.hstack(parts, format="csr"))


def _unique(names: pd.Series, what: str, remedy: str) -> NDArray[np.object_]:
    text = names.astype(str).astype(object)
    twice = text[text.duplicated()]
    if len(twice):
        raise PathomixError(f"{what} stand more than once", offending=sorted(set(twice)), remedy=remedy)
    return text.to_numpy()
