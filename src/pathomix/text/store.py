"""Prompts and their embeddings on disk: each distinct prompt is embedded once."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import safetensors
from numpy.typing import NDArray
from safetensors.numpy import save_file

from pathomix.core.errors import PathomixError
from pathomix.core.files import atomic_path, file_digest
from pathomix.core.fitting import FittingRecord
from pathomix.core.provenance import METADATA_KEY, Provenance
from pathomix.core.tables import Column, TableSchema, read_provenance, read_table, write_table
from pathomix.core.texts import TEXT_TASKS
from pathomix.text.encoders import TextEncoder

# `prompt` and `row` (of the embeddings file) are empty where no field of the text is known.
TEXTS = TableSchema(
    "texts",
    ("fold", "patient_id", "text_task"),
    {
        "fold": Column("int64"),
        "patient_id": Column("str"),
        "text_task": Column("str", allowed=TEXT_TASKS),
        "prompt": Column("object", nullable=True),
        "location": Column("object", nullable=True),
        "diagnosis": Column("object", nullable=True),
        "stage": Column("object", nullable=True),
        "t": Column("object", nullable=True),
        "n": Column("object", nullable=True),
        "m": Column("object", nullable=True),
        "survival": Column("object", nullable=True),
        "row": Column("Int64", nullable=True),
    },
)

_EMBEDDINGS = "embeddings"
_FITTED_ON = "fitted_on"
_REMEDY = "run write_texts again"


def write_texts(
    prompts: pd.DataFrame,
    encoder: TextEncoder,
    table_path: str | os.PathLike[str],
    embeddings_path: str | os.PathLike[str],
    inputs: Mapping[str, str],
    parameters: Mapping[str, Any],
    fitted_on: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Embed the distinct prompts and write the table and the vectors.

    Args:
        prompts: Columns of TEXTS without `row`.
        encoder: Embeds.
        table_path: `<scheme>.parquet`.
        embeddings_path: `<scheme>.safetensors`: `embeddings` float32 [distinct prompts, dim], prompts sorted.
        inputs: Digests of what the prompts were made of.
        parameters: For the provenance of both files.
        fitted_on: Fold to the patients whose times made its survival intervals, for the provenance of the table.
    """
    distinct = sorted(set(prompts["prompt"].dropna()))
    vectors = np.ascontiguousarray(encoder.encode(distinct), dtype=np.float32)
    described = {"id": encoder.identity, "digest": encoder.digest, "dim": encoder.dim}
    lineage = Provenance("texts", inputs=inputs, parameters={**parameters, "encoder": described})
    with atomic_path(embeddings_path) as temporary:
        save_file({_EMBEDDINGS: vectors}, temporary, metadata={METADATA_KEY: lineage.to_json()})
    rows = prompts["prompt"].map({text: number for number, text in enumerate(distinct)}).astype("Int64")
    both = {**inputs, _EMBEDDINGS: file_digest(embeddings_path)}
    carried = {**lineage.parameters, _FITTED_ON: {fold: list(ids) for fold, ids in (fitted_on or {}).items()}}
    lineage = Provenance("texts", inputs=both, parameters=carried)
    write_table(prompts.assign(row=rows), TEXTS, table_path, lineage)


class StoredTexts:
    """Embedded texts of one fold, `pathomix.core.texts.TextStore`.

    Args:
        paths: Tables of `write_texts`, several for a union of cohorts; the vectors lie beside each under the same
            name with the suffix ``.safetensors``.
        fold: Fold to read.

    Attributes:
        missing: Patient to the reason why there is no embedding.
        fitting: Whose times made the survival intervals.
        declared_leaks: Step to the setting of the texts that lets it look at all parts of the fold.

    Raises:
        PathomixError: A file is absent or not the one that belongs to its table, the fold is absent, a patient stands
            in two files, or two files come from different encoders.
    """

    def __init__(self, paths: Sequence[str | os.PathLike[str]], fold: int) -> None:
        if not paths:
            raise PathomixError("no text files", remedy="give at least one table of write_texts")
        self.missing: dict[str, str] = {}
        self.fitting = FittingRecord()
        self.declared_leaks: dict[str, str] = {}
        self._vectors: dict[str, NDArray[np.float32]] = {}
        self._dim = 0
        self._profiles: set[str] = set()
        origin: dict[str, Path] = {}
        first: tuple[Path, dict[str, Any]] | None = None
        for path in map(Path, paths):
            vectors, encoder = _read_embeddings(path)
            first = first or (path, encoder)
            _same_encoder(first, (path, encoder))
            self._dim = vectors.shape[1]
            self._profiles.add(str(encoder.pop("profile")))
            self._carry(read_provenance(path).parameters, fold)
            table = read_table(path, TEXTS)
            table = table[table["fold"] == fold]
            if table.empty:
                raise PathomixError(f"{path}: no fold {fold}", remedy=_REMEDY)
            twice = sorted(set(table["patient_id"]) & set(origin))
            if twice:
                others = sorted({str(origin[patient]) for patient in twice})
                raise PathomixError(
                    f"{path}: patients also have texts in {', '.join(others)}",
                    offending=twice,
                    remedy="give each cohort once",
                )
            origin |= dict.fromkeys(table["patient_id"], path)
            self._add(table, vectors, path)

    def _carry(self, parameters: Mapping[str, Any], fold: int) -> None:
        ids = parameters.get(_FITTED_ON, {}).get(str(fold))
        if ids is not None:
            self.fitting.note("text_bins", ids)
        if parameters.get("bins_from") == "all":
            self.declared_leaks["text_bins"] = "bins_from: all"

    def _add(self, table: pd.DataFrame, vectors: NDArray[np.float32], path: Path) -> None:
        rows = table.pivot(index="patient_id", columns="text_task", values="row").reindex(columns=list(TEXT_TASKS))
        for patient, numbers in rows.iterrows():
            unknown = [task for task in TEXT_TASKS if pd.isna(numbers[task])]
            if unknown:
                self.missing[str(patient)] = f"no field of the text {', '.join(unknown)} is known"
                continue
            places = [int(numbers[task]) for task in TEXT_TASKS]
            if max(places) >= len(vectors):
                raise PathomixError(f"{path}: more prompts than embeddings", offending=[patient], remedy=_REMEDY)
            self._vectors[str(patient)] = vectors[places]

    @property
    def dim(self) -> int:
        """Embedding width."""
        return self._dim

    @property
    def profile(self) -> str:
        """Profile the texts were written with; `mixed` where files differ in it."""
        return self._profiles.copy().pop() if len(self._profiles) == 1 else "mixed"

    @property
    def patient_ids(self) -> frozenset[str]:
        """Patients with all texts."""
        return frozenset(self._vectors)

    def embedding(self, patient_id: str) -> NDArray[np.float32]:
        """Unit vectors [4, dim] in the order of TEXT_TASKS.

        Raises:
            PathomixError: The patient has no texts.
        """
        if patient_id not in self._vectors:
            reason = self.missing.get(patient_id, "not in the split the texts were written for")
            raise PathomixError(f"no label texts ({reason})", offending=[patient_id], remedy="ask `patient_ids` first")
        return self._vectors[patient_id].copy()


def _read_embeddings(table_path: Path) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """Vectors beside a table, and the encoder they come from."""
    path = table_path.with_suffix(".safetensors")
    absent = [str(file) for file in (table_path, path) if not file.is_file()]
    if absent:
        raise PathomixError("text files are missing", offending=absent, remedy=_REMEDY)
    lineage = read_provenance(table_path)
    if lineage.inputs.get(_EMBEDDINGS) != file_digest(path):
        raise PathomixError(f"{path}: not the file that {table_path.name} was written with", remedy=_REMEDY)
    with safetensors.safe_open(path, framework="numpy") as file:
        vectors: NDArray[np.float32] = file.get_tensor(_EMBEDDINGS)
    return vectors, {**lineage.parameters["encoder"], "profile": lineage.parameters.get("profile", "unknown")}


def _same_encoder(first: tuple[Path, Mapping[str, Any]], other: tuple[Path, Mapping[str, Any]]) -> None:
    (path, encoder), (second, another) = first, other
    if encoder["dim"] != another["dim"] or encoder["digest"] != another["digest"]:
        raise PathomixError(
            f"texts of two encoders: {path} ({encoder['id']}, width {encoder['dim']}) and "
            f"{second} ({another['id']}, width {another['dim']})",
            remedy="write the texts of all cohorts with one encoder",
        )
