"""Vectors of a cohort's patients in every fold, as AnnData; and reading them back for probes."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pathomix.core.errors import PathomixError
from pathomix.core.files import atomic_path
from pathomix.core.fitting import note_fitted
from pathomix.core.provenance import METADATA_KEY, Provenance

if TYPE_CHECKING:
    from anndata import AnnData

MAIN = "general"
HELD_OUT = "_held_out"
_OBS = ("fold", "patient_id", "part", "reason")
_REMEDY = "run embed_cohort again"


def write_embeddings(
    path: str | os.PathLike[str],
    patients: pd.DataFrame,
    vectors: Mapping[str, NDArray[np.float32]],
    provenance: Provenance,
) -> None:
    """Write one row per fold and patient.

    Args:
        path: ``.h5ad``. ``obs_names`` are ``<fold>/<patient_id>``; `X` is the vector `general`, ``obsm`` holds the
            others, among them ``<name>_held_out``: vectors of training patients by the model of cross-fitting that
            was fitted without them.
        patients: Columns `fold`, `patient_id`, `part` and `reason` (why there is no vector, empty where there is one).
        vectors: Name to [rows, dimensions], NaN where there is none; `general` always.
        provenance: Lineage (``uns["pathomix"]``, JSON).
    """
    import anndata

    obs = patients[list(_OBS)].copy()
    obs.index = pd.Index(obs["fold"].astype(str) + "/" + obs["patient_id"], dtype=object)
    others = {name: np.asarray(values, np.float32) for name, values in sorted(vectors.items()) if name != MAIN}
    data = anndata.AnnData(np.asarray(vectors[MAIN], np.float32), obs=obs, obsm=others)
    data.uns[METADATA_KEY] = provenance.to_json()
    with atomic_path(path) as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        data.write_h5ad(temporary, compression="gzip")


class EmbeddingStore:
    """Embeddings of one cohort and scheme, `pathomix.core.vectors.VectorStore`.

    Args:
        paths: Seed to the file of `write_embeddings`.
        name: Vector to hand out: `general`, `diagnosis` or `survival`.
        held_out: Where the file has vectors of cross-fitting, training patients get the vector of the model that has
            not seen them, and none if that model failed; probes are then fitted on vectors of the kind they will meet
            (spec modaltune 9.3). False: the vectors of the fold's model, as the released protocol does.
    """

    def __init__(self, paths: Mapping[int, str | os.PathLike[str]], name: str = MAIN, *, held_out: bool = True) -> None:
        self._paths = {seed: Path(path) for seed, path in paths.items()}
        self._name, self._held_out = name, held_out
        self._read: dict[int, AnnData] = {}

    def of(self, fold: int, seed: int) -> pd.DataFrame:
        """Vectors [patients, dimensions] of one fold and seed, index ``patient_id``, only patients that have one.

        Raises:
            PathomixError: The fold, the seed or the named vector is not there, or the file is damaged.
        """
        data, rows = self._rows(fold, seed)
        obs = data.obs.iloc[rows]
        if self._parameters(data).get("fitted") != []:  # a frozen encoder's vectors were fitted on nobody
            note_fitted("vectors", obs.loc[obs["part"] != "test", "patient_id"])
        values = self._matrix(data, self._name, seed)[rows]
        if self._held_out and self._name + HELD_OUT in data.obsm:
            train = (obs["part"] == "train").to_numpy()
            values = np.where(train[:, None], self._matrix(data, self._name + HELD_OUT, seed)[rows], values)
        index = pd.Index(obs["patient_id"].astype(str), name="patient_id", dtype=object)
        frame = pd.DataFrame(values, index=index)
        return frame.dropna(how="all")

    def leaks(self, fold: int, seed: int) -> Mapping[str, Mapping[str, Any]]:
        """Declared leaks of the model behind these vectors: step to setting, patients and parts."""
        data, _ = self._rows(fold, seed)
        leaks: Mapping[str, Mapping[str, Any]] = self._parameters(data).get("leak_declared", {}).get(str(fold), {})
        return leaks

    @staticmethod
    def _parameters(data: AnnData) -> Mapping[str, Any]:
        parameters: Mapping[str, Any] = json.loads(data.uns[METADATA_KEY]).get("parameters", {})
        return parameters

    def _rows(self, fold: int, seed: int) -> tuple[AnnData, NDArray[np.int64]]:
        if seed not in self._paths:
            raise PathomixError(
                f"no embeddings of seed {seed}", offending=self._paths, remedy="embed the cohort with this seed"
            )
        data = self._data(seed)
        rows = np.flatnonzero(data.obs["fold"].to_numpy() == fold)
        if not len(rows):
            raise PathomixError(f"{self._paths[seed]}: no fold {fold}", remedy=_REMEDY)
        return data, rows

    def _matrix(self, data: AnnData, name: str, seed: int) -> NDArray[np.float32]:
        if name == MAIN:
            return np.asarray(data.X)
        if name not in data.obsm:
            raise PathomixError(
                f"{self._paths[seed]}: no vector {name!r}", remedy=f"use one of {[MAIN, *sorted(data.obsm)]}"
            )
        return np.asarray(data.obsm[name])

    def _data(self, seed: int) -> AnnData:
        if seed not in self._read:
            self._read[seed] = read_embeddings(self._paths[seed])
        return self._read[seed]


def read_embeddings(path: str | os.PathLike[str]) -> AnnData:
    """The AnnData of `write_embeddings`.

    Raises:
        PathomixError: It cannot be read or was not written by pathomix.
    """
    import anndata

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            data = anndata.read_h5ad(path)
        absent = [name for name in _OBS if name not in data.obs]
    except (OSError, KeyError, ValueError) as error:
        raise PathomixError(f"{path}: cannot be read ({error})", remedy=_REMEDY) from error
    if absent or METADATA_KEY not in data.uns:
        raise PathomixError(f"{path}: not a file of embeddings", offending=absent, remedy=_REMEDY)
    return data
