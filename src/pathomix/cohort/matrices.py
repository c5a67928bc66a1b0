"""Molecular matrices as AnnData files: obs = patients, float32, deterministic bytes."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from pathomix.core.errors import PathomixError
from pathomix.core.files import atomic_path
from pathomix.core.provenance import METADATA_KEY, Provenance

if TYPE_CHECKING:
    from anndata import AnnData

ALTERATIONS = ("copy_number", "mutation")


def write_expression(
    path: str | os.PathLike[str], expression: pd.DataFrame | None, scale: str, provenance: Provenance
) -> None:
    """Write patients x gene symbols; X and ``layers["raw"]`` are the values on the table's own scale.

    Args:
        path: ``expression.h5ad``.
        expression: float32, index patients, columns symbols; None writes a file without rows.
        scale: Name of the scale (``uns["scale"]``).
        provenance: Lineage (``uns["pathomix"]``).
    """
    import anndata

    frame = _empty() if expression is None else expression
    values = frame.to_numpy(np.float32)
    data = anndata.AnnData(values, obs=_axis(frame.index), var=_axis(frame.columns), layers={"raw": values.copy()})
    data.uns["scale"] = scale
    _write(data, path, provenance)


def write_alterations(
    path: str | os.PathLike[str],
    copy_number: pd.DataFrame | None,
    mutation: pd.DataFrame | None,
    provenance: Provenance,
) -> None:
    """Write copy number and mutation side by side.

    ``var`` has `gene` and `kind`, its index is ``<gene>:<kind>``. A patient with only one of the two has NaN in the
    other; ``obs`` says which is measured (`has_copy_number`, `has_mutation`).
    """
    import anndata

    blocks = dict(zip(ALTERATIONS, (copy_number, mutation), strict=True))
    given = {kind: frame for kind, frame in blocks.items() if frame is not None}
    patients = pd.Index(sorted(set().union(*(frame.index for frame in given.values()))))
    var = pd.DataFrame(
        [(gene, kind) for kind, frame in given.items() for gene in frame.columns],
        columns=["gene", "kind"],
        dtype=object,
    )
    var.index = pd.Index([f"{gene}:{kind}" for gene, kind in var.itertuples(index=False)], dtype=object)
    values = [frame.reindex(patients).to_numpy(np.float32) for frame in given.values()]
    var = var.astype("category")
    obs = pd.DataFrame(
        {f"has_{kind}": patients.isin(given[kind].index if kind in given else []) for kind in ALTERATIONS},
        index=patients.astype(object),
    )
    x = np.concatenate(values, axis=1) if values else np.zeros((0, 0), np.float32)
    _write(anndata.AnnData(x, obs=obs, var=var), path, provenance)


def read_expression(path: str | os.PathLike[str]) -> pd.DataFrame | None:
    """Patients x gene symbols, float32; None where the cohort has none."""
    data = _read(path)
    return _frame(data.X, data.obs_names, data.var_names) if data.n_obs else None


def expression_scale(path: str | os.PathLike[str]) -> str:
    """Name of the scale of the values, ``none`` without expression."""
    return str(_read(path).uns["scale"])


def read_alterations(path: str | os.PathLike[str]) -> dict[str, pd.DataFrame | None]:
    """Per kind (`copy_number`, `mutation`) the measured patients x genes, float32; None where there is none."""
    data = _read(path)
    result: dict[str, pd.DataFrame | None] = dict.fromkeys(ALTERATIONS)
    for kind in ALTERATIONS:
        columns = np.flatnonzero(data.var["kind"].astype(str) == kind)
        if data.n_obs and len(columns):
            rows = np.flatnonzero(data.obs[f"has_{kind}"])
            genes = data.var["gene"].astype(str).iloc[columns]
            result[kind] = _frame(data.X[np.ix_(rows, columns)], data.obs_names[rows], genes)
    return result


def _empty() -> pd.DataFrame:
    return pd.DataFrame(index=pd.Index([], dtype=object), columns=pd.Index([], dtype=object), dtype="float32")


def _axis(index: pd.Index) -> pd.DataFrame:
    return pd.DataFrame(index=pd.Index(index.astype(str), dtype=object, name=None))


def _frame(values: np.ndarray, patients: pd.Index, genes: pd.Index | pd.Series) -> pd.DataFrame:
    index = pd.Index(list(patients), name="patient_id", dtype=object)
    return pd.DataFrame(np.asarray(values, np.float32), index=index, columns=pd.Index(list(genes), name="gene"))


def _write(data: AnnData, path: str | os.PathLike[str], provenance: Provenance) -> None:
    data.uns[METADATA_KEY] = provenance.to_json()
    with atomic_path(path) as temporary:
        data.write_h5ad(temporary, compression="gzip")


def _read(path: str | os.PathLike[str]) -> AnnData:
    import anndata

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            return anndata.read_h5ad(path)
    except (OSError, KeyError) as error:
        raise PathomixError(f"{path}: cannot be read ({error})", remedy="run the rule build_cohort again") from error
