"""One representation, source and seed: every fold fitted and written, each unit resumable; and cohorts embedded."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors import safe_open

from pathomix.cohort.cases import Cases, TextStore
from pathomix.cohort.parts import parts_of
from pathomix.core.errors import PathomixError
from pathomix.core.files import content_key, file_digest
from pathomix.core.fitting import Fit, Guard, recording
from pathomix.core.provenance import METADATA_KEY, Provenance
from pathomix.core.schemas import MODEL_HISTORY, MODEL_INDEX
from pathomix.core.seeds import derived_seed
from pathomix.core.tables import write_table
from pathomix.core.units import read_record, split_key, write_arrays, write_record
from pathomix.representations.base import Embedding, FittedRepresentation, Representation
from pathomix.representations.build import build_representation
from pathomix.representations.files import without_paths
from pathomix.representations.leaks import carried_leaks, declared_by, fit_of_split
from pathomix.representations.store import HELD_OUT, MAIN, write_embeddings
from pathomix.training.batches import stratified_folds
from pathomix.training.checkpoint import Checkpoint

log = logging.getLogger(__name__)

_FILES = ("model.safetensors", "history.parquet")


@dataclass(frozen=True)
class TrainingCell:
    """A representation to train on one source with one seed.

    Attributes:
        representation: The row's name (not the representation's name in the registry).
        source: Cohort, or union of cohorts, it is trained on.
        scheme: Splitting scheme.
        seed: Of everything random.
        configuration: Key `representation` and its parameters.
        slide_encoder: Parameters of the slide encoder below it.
        code_digest: Digest of the code it reaches, empty when run by hand.
        inputs: Name to sha256 of every input file except the splits.
    """

    representation: str
    source: str
    scheme: str
    seed: int
    configuration: Mapping[str, Any]
    slide_encoder: Mapping[str, Any]
    code_digest: str
    inputs: Mapping[str, str]

    def folder(self, fold: int, inner: int) -> Path:
        """Folder of one unit, relative to the results folder."""
        name = f"{self.scheme}-{fold}"
        folder = Path("representations") / self.representation / self.source / name / f"seed{self.seed}"
        return folder / f"inner{inner}" if inner else folder

    def provenance(self, artifact: str, split: pd.DataFrame, **more: Any) -> Provenance:
        """Lineage; of the splits only the rows used count, so that a new fold leaves the others alone."""
        parameters = {
            "configuration": dict(self.configuration),
            "slide_encoder": without_paths(self.slide_encoder),
            "code": self.code_digest,
            "seed": self.seed,
            **more,
        }
        return Provenance(artifact, 1, {**self.inputs, "splits": split_key(split)}, parameters)


@dataclass(frozen=True)
class _Unit:
    """One fit: `inner` 0 on the whole training part of a fold, j > 0 without the patients `held_out`."""

    fold: int
    inner: int
    train: Cases
    valid: Cases
    test: pd.Index
    cohort: Cases
    held_out: tuple[str, ...]
    provenance: Provenance


def train_cell(
    cell: TrainingCell,
    cases: Cases,
    splits: pd.DataFrame,
    results: str | os.PathLike[str],
    index: str | os.PathLike[str],
    texts: Callable[[int], TextStore] | None = None,
    guard: Guard | None = None,
) -> None:
    """Fit all folds, and per fold the models of cross-fitting; a finished unit with the same key is kept.

    A fit that fails is a row with its reason and leaves the others alone. An interrupted one goes on from its
    checkpoint, ``checkpoint.pt`` in the unit's folder.

    Args:
        cell: What to train.
        cases: The source.
        splits: SPLITS table of the scheme.
        results: Results folder.
        index: MODEL_INDEX table to write.
        texts: Fold to the label texts of the source's patients in that fold.
        guard: Asked after every fit, before it is written; `evaluate.leakage.guard` gives one.

    Raises:
        PathomixError: The configuration is refused, a split is damaged, a checkpoint belongs to another run,
            or a fit leaks.
    """
    representation = build_representation(cell.configuration, cell.slide_encoder)
    root = Path(results)
    rows = [
        _fitted(cell, representation, unit, root, guard)
        for fold, split in splits.groupby("fold")
        for unit in _units(cell, representation, _with_texts(cases, texts, int(str(fold))), split, int(str(fold)))
    ]
    write_table(pd.DataFrame(rows), MODEL_INDEX, index, cell.provenance("model_index", splits))


def _with_texts(cases: Cases, texts: Callable[[int], TextStore] | None, fold: int) -> Cases:
    return cases if texts is None else replace(cases, texts=texts(fold))


def _units(
    cell: TrainingCell, representation: Representation, cases: Cases, split: pd.DataFrame, fold: int
) -> Iterator[_Unit]:
    parts = parts_of(cases, split)
    train, valid, folds = parts["train"], parts["valid"], representation.inner_folds
    listed = cases.subset(cases.ids[cases.ids.isin(split["patient_id"])])

    def unit(inner: int, part: Cases, held_out: pd.Index) -> _Unit:
        provenance = cell.provenance("representation", split, fold=fold, inner=inner)
        return _Unit(fold, inner, part, valid, parts["test"].ids, listed, tuple(map(str, held_out)), provenance)

    yield unit(0, train, train.ids[:0])
    if folds:
        left_out = inner_parts(train, folds, cell.seed)
        for inner in range(1, folds + 1):
            out = left_out == inner
            yield unit(inner, train.subset(train.ids[~out]), train.ids[out])


def inner_parts(train: Cases, folds: int, seed: int) -> NDArray[np.int64]:
    """Number (1 to `folds`) of the cross-fitting model that is fitted without each patient, stratified by event.

    Raises:
        PathomixError: Fewer patients than twice the number of folds.
    """
    if len(train.ids) < 2 * folds:
        raise PathomixError(
            f"{len(train.ids)} training patients cannot be cross-fitted in {folds} parts",
            remedy="lower `inner_folds`, or set it to 0",
        )
    event = np.asarray(train.patients["event"].astype("Int64").fillna(-1), dtype=np.int64)
    return np.asarray(stratified_folds(event, folds, np.random.default_rng(derived_seed(seed, "inner"))) + 1)


def _fitted(
    cell: TrainingCell, representation: Representation, unit: _Unit, root: Path, guard: Guard | None
) -> dict[str, Any]:
    """Fit one unit, or find it done; its row of the index."""
    folder = cell.folder(unit.fold, unit.inner)
    lineage = {k: v for k, v in unit.provenance.to_dict().items() if k != "artifact"}
    key = content_key(**lineage)
    what = f"{cell.representation} on {cell.source}, fold {unit.fold}, seed {cell.seed}, inner {unit.inner}"
    row = {
        "representation": cell.representation,
        "source": cell.source,
        "scheme": cell.scheme,
        "fold": unit.fold,
        "seed": cell.seed,
        "inner": unit.inner,
        "status": "done",
        "reason": None,
        "path": (folder / _FILES[0]).as_posix(),
    }
    record = read_record(root / folder, key)
    if record is None:
        checkpoint = Checkpoint(root / folder / "checkpoint.pt", lineage)
        # A checkpoint of another run is an error of the job, not a failure of the fit.
        checkpoint.load()
        try:
            with recording() as fitting:
                fitted = representation.fit(
                    unit.train, unit.valid, seed=cell.seed, checkpoint=checkpoint, cohort=unit.cohort
                )
        except PathomixError as error:
            log.warning("%s: failed: %s", what, error)
            return {**row, "status": "failed", "reason": str(error), "path": None, "sha256": None}
        ids: dict[str, Iterable[object]] = {
            "train": unit.train.ids,
            "valid": unit.valid.ids,
            "test": unit.test,
            "held_out": unit.held_out,
        }
        parts = {part: frozenset(map(str, patients)) for part, patients in ids.items()}
        fitted_parts = getattr(representation, "fitted_parts", ("train",))
        fit = Fit(what, fitting, parts, fitted_parts, declared_by(representation, unit.train.texts))
        if guard is not None:
            guard(fit)
        record = _write(root / folder, key, fitted, unit, fit)
        checkpoint.discard()
        log.info("%s: done", what)
    else:
        log.info("%s: kept", what)
    return {**row, "sha256": record["files"][_FILES[0]]}


def _write(folder: Path, key: str, fitted: FittedRepresentation, unit: _Unit, fit: Fit) -> dict[str, Any]:
    write_table(fitted.history(), MODEL_HISTORY, folder / "history.parquet", unit.provenance)
    patients = {"trained_on": [str(p) for p in unit.train.ids], "held_out": list(unit.held_out)}
    # One entry only: safetensors writes several in changing order, and equal content must give equal bytes.
    lineage = replace(unit.provenance, parameters={**unit.provenance.parameters, "patients": patients, **fit.facts()})
    write_arrays(folder / "model.safetensors", fitted.state(), {METADATA_KEY: lineage.to_json()})
    return write_record(folder, key, _FILES, {"provenance": unit.provenance.to_dict(), **fit.facts()})


@dataclass(frozen=True)
class EmbeddingCell:
    """A cohort to embed with the trained models of one source and seed.

    Attributes:
        configuration: Key `representation` and its parameters, as the models were trained with.
        slide_encoder: Parameters of the slide encoder below it.
        cohort: Cohort name.
        foreign: Whether the models were not trained on this cohort; its own training part then gives the statistics
            of its measurements (spec modaltune 6.4).
        inputs: Name to sha256 of every input file.
    """

    configuration: Mapping[str, Any]
    slide_encoder: Mapping[str, Any]
    cohort: str
    foreign: bool
    inputs: Mapping[str, str]


def embed_cell(
    cell: EmbeddingCell,
    cases: Cases,
    splits: pd.DataFrame,
    models: pd.DataFrame,
    results: str | os.PathLike[str],
    output: str | os.PathLike[str],
    guard: Guard | None = None,
) -> None:
    """Embed every patient of a cohort in every fold of its scheme, with the model of the fold of the same number.

    Training patients of the source get, besides, the vectors of the cross-fitting model that was fitted without them.

    Args:
        cell: What to embed with what.
        cases: The cohort.
        splits: SPLITS table of the cohort.
        models: MODEL_INDEX rows of one representation, source, scheme and seed.
        results: Results folder.
        output: AnnData to write, see `store.write_embeddings`.
        guard: Asked in every fold, before anything is written; `evaluate.leakage.guard` gives one.

    Raises:
        PathomixError: A fold has no model, a model file is missing or not the indexed one, or a patient outside the
            training part was among those a model was trained on, or statistics of a foreign cohort leak.
    """
    representation = build_representation(cell.configuration, cell.slide_encoder)
    folds = []
    steps, leaks = carried_leaks(models, results)
    for fold, split in splits.groupby("fold"):
        with recording() as fitting:
            folds.append(_Fold(cell, representation, cases, split, int(str(fold)), models, Path(results)).embed())
        fit = fit_of_split(f"{cell.cohort}, fold {fold}", fitting, split, declared_by(representation))
        if guard is not None:
            guard(fit)
        leaks.setdefault(str(fold), {}).update(fit.facts().get("leak_declared", {}))
    obs = pd.concat([frame for frame, _ in folds], ignore_index=True)
    names = {MAIN, *(name for _, vectors in folds for name in vectors)}
    joined = {name: _joined(name, folds) for name in names}
    used = models[["representation", "source", "scheme", "fold", "seed", "inner", "sha256"]]
    parameters = {
        "configuration": dict(cell.configuration),
        "slide_encoder": without_paths(cell.slide_encoder),
        "cohort": cell.cohort,
        "foreign": cell.foreign,
        "models": json.loads(used.to_json(orient="records")),
        "fitted": steps,
        "leak_declared": {fold: found for fold, found in leaks.items() if found},
    }
    write_embeddings(output, obs, joined, Provenance("embeddings", 1, dict(cell.inputs), parameters))


def _joined(name: str, folds: list[tuple[pd.DataFrame, dict[str, pd.DataFrame]]]) -> NDArray[np.float32]:
    width = max((vectors[name].shape[1] for _, vectors in folds if name in vectors), default=0)
    blocks = []
    for obs, vectors in folds:
        block = np.full((len(obs), width), np.nan, np.float32)
        if name in vectors:
            found = vectors[name]
            block[pd.Index(obs["patient_id"]).get_indexer(found.index)] = found.to_numpy(np.float32)
        blocks.append(block)
    return np.concatenate(blocks)


@dataclass(frozen=True)
class _Fold:
    """One fold of a cohort to embed."""

    cell: EmbeddingCell
    representation: Representation
    cases: Cases
    split: pd.DataFrame
    fold: int
    models: pd.DataFrame
    root: Path

    def embed(self) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
        """Rows of ``obs`` and, per name of a vector, the patients that have it."""
        parts = parts_of(self.cases, self.split)
        rows = self.models[self.models["fold"] == self.fold]
        main = rows[rows["inner"] == 0]
        if len(main) != 1:
            raise PathomixError(
                f"{self.cell.cohort}: no model of fold {self.fold}",
                offending=sorted(set(self.models["fold"])),
                remedy="give the cohort a scheme with the folds of the models' source, and train them",
            )
        part = self.split.set_index("patient_id")["part"]
        listed = self.cases.subset(self.cases.ids[self.cases.ids.isin(part.index)])
        whole = self._vectors(main.iloc[0], listed, parts, listed.ids)
        vectors = dict(whole.vectors)
        train = parts["train"].ids
        inner = rows[(rows["inner"] > 0) & (not self.cell.foreign)]
        apart = [self._vectors(row, listed, parts, train) for _, row in inner.iterrows()]
        for name, frame in whole.vectors.items() if apart else ():
            frames = [embedding.vectors[name] for embedding in apart if name in embedding.vectors]
            vectors[name + HELD_OUT] = pd.concat(frames) if frames else frame.iloc[:0]
        obs = pd.DataFrame({"patient_id": listed.ids.astype(str)}).assign(fold=self.fold)
        obs["part"] = part.reindex(listed.ids).to_numpy()
        obs["reason"] = [whole.missing.get(patient, "") for patient in listed.ids]
        return obs, vectors

    def _vectors(self, row: pd.Series, listed: Cases, parts: Mapping[str, Cases], ids: pd.Index) -> Embedding:
        """Embed the patients `ids`; with a model of cross-fitting, those of them that it was fitted without."""
        if row["status"] != "done":
            reason = f"the model of fold {self.fold} could not be fitted: {row['reason']}"
            return Embedding({}, dict.fromkeys(map(str, ids), reason))
        state, patients = read_model(row, self.root)
        seen = set(patients["trained_on"])
        leaked = [p for name in ("valid", "test") for p in parts[name].ids if p in seen]
        if leaked:
            raise PathomixError(
                f"{self.cell.cohort}, fold {self.fold}: the model was trained on valid or test patients",
                offending=leaked,
                remedy="embed with models trained on the same splits",
            )
        if row["inner"]:
            ids = ids[ids.isin(patients["held_out"])]
        if not len(ids):
            return Embedding({}, {})
        fitted = self.representation.load(state)
        return fitted.embed(listed.subset(ids), foreign=parts["train"] if self.cell.foreign else None)


def read_model(
    row: pd.Series, results: str | os.PathLike[str]
) -> tuple[dict[str, NDArray[np.generic]], dict[str, list[str]]]:
    """State of a fitted model, and the patients it was trained on (`trained_on`) and without (`held_out`).

    Args:
        row: Row of MODEL_INDEX with status `done`.
        results: Results folder.

    Raises:
        PathomixError: The file is missing, damaged, or not the one that was indexed.
    """
    path = Path(results) / str(row["path"])
    try:
        whole = file_digest(path) == row["sha256"]
        with safe_open(path, framework="numpy") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            patients: dict[str, list[str]] = Provenance.from_json(file.metadata()[METADATA_KEY]).parameters["patients"]
    except Exception as error:  # safetensors raises an exception class of its own for damaged files
        raise PathomixError(f"{path}: cannot be read ({error})", remedy="run train_representation again") from error
    if not whole:
        raise PathomixError(f"{path}: not the file that was indexed", remedy="run train_representation again")
    return state, patients
