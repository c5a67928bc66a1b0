"""Explanations of one trained model on files.

In the output folder: ``cases.parquet`` (who was explained, EXPLAINED_CASES), ``scalars.parquet`` (what was explained,
its completeness; EXPLAINED_SCALARS), ``pathways.parquet`` (attribution of every scalar to every pathway, and the
injectors' attention to it; PATHWAYS), ``pathway_models.parquet`` and ``controls.parquet`` (the same ranking of pathways
by other seeds and by untrained models, and whether the explanation passes for it; PATHWAY_MODELS, CONTROLS) and per
patient ``tiles/<patient>.h5``:

    coords [T, 2], slide [T], slide_ids, token [T]     tiles that went in, and the row of the maps each is in
    prompt [P], pathways, shares [tokens, pathways]    names; tiles_to_prompt[:, gene tokens] @ shares = per pathway
    <task>/stage<k>/tiles_to_prompt [L, P]             injector: where each tile looks, rows add up to 1
    <task>/stage<k>/effect [L]                         what the injector adds to the tile, relative to the tile
    <task>/stage<k>/prompt_to_tiles.<n> [P, L]         n-th extractor: where each prompt token looks
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors.numpy import load_file

from pathomix.cohort.cases import Cases
from pathomix.cohort.parts import parts_of
from pathomix.core.errors import PathomixError
from pathomix.core.files import atomic_path, file_digest
from pathomix.core.provenance import METADATA_KEY, Provenance
from pathomix.core.schemas import PARTS
from pathomix.core.tables import Column, TableSchema, write_table
from pathomix.representations.build import build_representation
from pathomix.representations.explain import Explainer, Explanation, Scalar, TileAttention
from pathomix.representations.explain_control import (
    CONTROLS,
    PATHWAY_MODELS,
    RANDOMISED,
    TRAINED,
    UNTRAINED,
    Ranked,
    judged,
    rank_approximately,
    ranked,
    untrained,
)
from pathomix.representations.modaltune import FittedModalTune
from pathomix.representations.run import read_model

log = logging.getLogger(__name__)

# One row per patient asked for; `path` is relative to the folder.
EXPLAINED_CASES = TableSchema(
    "explained_cases",
    ("patient_id",),
    {
        "patient_id": Column("str"),
        "part": Column("str", allowed=PARTS),
        "status": Column("str", allowed=("done", "left_out")),
        "reason": Column("object", nullable=True),
        "path": Column("object", nullable=True),
        "sha256": Column("object", nullable=True),
    },
)

# value - baseline = attributed + gap; complete where |gap| is at most `allowed`.
EXPLAINED_SCALARS = TableSchema(
    "explained_scalars",
    ("patient_id", "scalar"),
    {
        "patient_id": Column("str"),
        "scalar": Column("str"),
        "task": Column("str"),
        "value": Column("float64"),
        "baseline": Column("float64"),
        "attributed": Column("float64"),
        "gap": Column("float64"),
        "allowed": Column("float64"),
        "complete": Column("bool"),
        "evaluations": Column("int64"),
    },
)

# attention: of the injectors, mean over tiles and stages; missing in a model without tiles.
PATHWAYS = TableSchema(
    "pathways",
    ("patient_id", "scalar", "pathway"),
    {
        "patient_id": Column("str"),
        "task": Column("str"),
        "scalar": Column("str"),
        "pathway": Column("str"),
        "attribution": Column("float64"),
        "attention": Column("float64", nullable=True),
    },
)

Scalars = Callable[[FittedModalTune, str], Sequence[Scalar]]


@dataclass(frozen=True)
class OtherSeed:
    """The representation trained with another seed.

    Attributes:
        models: Its MODEL_INDEX rows.
        scalars: What to compare; untrained models are compared in the same.
    """

    models: pd.DataFrame
    scalars: Scalars


@dataclass(frozen=True)
class ExplanationCell:
    """What to explain.

    Attributes:
        configuration: Key `representation` and its parameters, as the model was trained with.
        slide_encoder: Parameters of the slide encoder below it.
        cohort: Cohort name.
        foreign: Whether the model was not trained on this cohort.
        fold: Fold of the model and of the split.
        inputs: Name to sha256 of every input file.
        tolerance: See `nn.attribution.integrated_gradients`.
        evaluations: See there.
    """

    configuration: Mapping[str, Any]
    slide_encoder: Mapping[str, Any]
    cohort: str
    foreign: bool
    fold: int
    inputs: Mapping[str, str]
    tolerance: float = 0.01
    evaluations: int = 512


def explain_cell(
    cell: ExplanationCell,
    cases: Cases,
    splits: pd.DataFrame,
    models: pd.DataFrame,
    patients: Sequence[str] | int,
    scalars: Scalars,
    results: str | os.PathLike[str],
    output: str | os.PathLike[str],
    others: Sequence[OtherSeed] = (),
) -> None:
    """Explain some patients by the model of one fold; a patient who cannot be explained is a row with the reason.

    Which pathways matter is compared with other seeds and with untrained models; see `explain_control`.

    Args:
        cell: What to explain.
        cases: The cohort, with tiles.
        splits: SPLITS table of the cohort.
        models: MODEL_INDEX rows of one representation, source, scheme and seed.
        patients: Ids, or how many of the test part, the first ones in table order that can be explained.
        scalars: What to explain of a patient; nothing, of one without label texts.
        results: Results folder.
        output: Folder to write to.
        others: Other seeds of the representation.

    Raises:
        PathomixError: No such fold or model, a representation without explanations, patients that are not in it, or a
            seed given twice.
    """
    seeds = _seeds([models, *(other.models for other in others)])
    split = splits[splits["fold"] == cell.fold]
    model, digest = _model(cell, models, results)
    parts = parts_of(cases, split)
    part = split.set_index("patient_id")["part"]
    listed = cases.subset(cases.ids[cases.ids.isin(part.index)])
    if not isinstance(patients, int):
        _require_listed(patients, listed, cell)
    foreign = parts["train"] if cell.foreign else None
    explainer = Explainer(model, listed, foreign=foreign, tolerance=cell.tolerance, evaluations=cell.evaluations)
    further = [_model(cell, other.models, results) for other in others]
    inputs = {**cell.inputs, "model": digest}
    inputs |= {f"model of seed {seed}": found for seed, (_, found) in zip(seeds[1:], further, strict=True)}
    parameters = {name: value for name, value in asdict(cell).items() if name != "inputs"}
    writer = _Writer(Path(output), explainer, scalars, part, lambda name: Provenance(name, 1, inputs, parameters))
    if isinstance(patients, int):
        writer.first(patients, [str(patient) for patient in parts["test"].ids])
    else:
        for patient in patients:
            writer.add(patient)
    if writer.attributed:
        known = listed.subset(writer.attributed)
        trained = {
            seed: (Explainer(other, known, foreign=foreign), given.scalars)
            for seed, (other, _), given in zip(seeds[1:], further, others, strict=True)
        }
        random = [Explainer(untrained(model, k), known, foreign=foreign) for k in range(RANDOMISED)]
        writer.compare(seeds[0], trained, random)
    writer.close()


def _seeds(models: Sequence[pd.DataFrame]) -> list[int]:
    seeds = [int(frame["seed"].iloc[0]) for frame in models]
    if len(set(seeds)) < len(seeds):
        raise PathomixError("a seed is given twice", offending=seeds, remedy="give the index of every other seed once")
    return seeds


def _require_listed(patients: Sequence[str], listed: Cases, cell: ExplanationCell) -> None:
    unknown = [patient for patient in patients if patient not in listed.ids]
    if unknown:
        raise PathomixError(
            f"not among the patients of {cell.cohort}, fold {cell.fold}",
            offending=unknown,
            remedy="name others in --patients",
        )


def _model(cell: ExplanationCell, models: pd.DataFrame, results: str | os.PathLike[str]) -> tuple[FittedModalTune, str]:
    rows = models[(models["fold"] == cell.fold) & (models["inner"] == 0)]
    if len(rows) != 1 or rows.iloc[0]["status"] != "done":
        reason = f": {rows.iloc[0]['reason']}" if len(rows) == 1 else ""
        raise PathomixError(
            f"{cell.cohort}: no model of fold {cell.fold}{reason}",
            offending=sorted(set(models.loc[models["status"] == "done", "fold"])),
            remedy="name a fold of the index of models",
        )
    state, _ = read_model(rows.iloc[0], results)
    model = build_representation(cell.configuration, cell.slide_encoder).load(state)
    if not isinstance(model, FittedModalTune):
        raise PathomixError(
            f"representation {cell.configuration.get('representation')!r} has no explanations",
            remedy="explain one of the representation modaltune",
        )
    return model, str(rows.iloc[0]["sha256"])


def read_probe(folder: str | os.PathLike[str]) -> tuple[dict[str, NDArray[np.generic]], tuple[str, ...]]:
    """Arrays of a fitted probe and its classes, from the folder of one run (``.../seed<k>``).

    Raises:
        PathomixError: It is not a finished run.
    """
    model, predictions = (Path(folder) / name for name in ("model.safetensors", "predictions.parquet"))
    absent = [path.name for path in (model, predictions) if not path.is_file()]
    if absent:
        raise PathomixError(
            f"{folder}: files are missing", offending=absent, remedy="give the folder of one run of the method probe"
        )
    prefix = "probability_"
    columns = [str(name) for name in pd.read_parquet(predictions).columns]
    return load_file(model), tuple(sorted(name.removeprefix(prefix) for name in columns if name.startswith(prefix)))


@dataclass
class _Writer:
    """Explains patients one after the other and collects the rows of the tables."""

    folder: Path
    explainer: Explainer
    scalars: Scalars
    part: pd.Series
    provenance: Callable[[str], Provenance]
    cases: list[dict[str, Any]] = field(default_factory=list)
    numbers: list[dict[str, Any]] = field(default_factory=list)
    pathways: list[pd.DataFrame] = field(default_factory=list)
    compared: list[Ranked] = field(default_factory=list)

    @property
    def attributed(self) -> list[str]:
        """Patients with attributions."""
        return list(dict.fromkeys(row["patient_id"] for row in self.numbers))

    def compare(self, seed: int, trained: Mapping[int, tuple[Explainer, Scalars]], random: Sequence[Explainer]) -> None:
        """Rank pathways by the explained model of this seed, by those of other seeds and by untrained ones.

        Compared is what the other seeds are asked for; without any, everything.
        """
        patients = self.attributed
        others = [
            rank_approximately(explainer, patients, partial(scalars, explainer.model), TRAINED, other)
            for other, (explainer, scalars) in trained.items()
        ]
        asked = {name for found in others for name in found.rows["scalar"]}
        names = asked if trained else {row["scalar"] for row in self.numbers}

        def wanted(patient: str) -> list[Scalar]:
            return [scalar for scalar in self.scalars(self.explainer.model, patient) if scalar.name in names]

        gaps = pd.DataFrame(self.numbers)[["patient_id", "scalar", "gap"]]
        own = pd.concat(self.pathways).merge(gaps, on=["patient_id", "scalar"])
        self.compared = [
            ranked(own[own["scalar"].isin(names)], TRAINED, seed),
            *others,
            *(rank_approximately(e, patients, wanted, UNTRAINED, k) for k, e in enumerate(random)),
        ]

    def first(self, count: int, patients: Sequence[str]) -> None:
        """The first `count` of the patients that can be explained."""
        for patient in patients:
            if sum(row["status"] == "done" for row in self.cases) == count:
                return
            self.add(patient)

    def add(self, patient: str) -> None:
        """Explain one patient and write the maps."""
        row = {"patient_id": patient, "part": self.part[patient], "reason": None, "path": None, "sha256": None}
        wanted = {scalar.name: scalar for scalar in self.scalars(self.explainer.model, patient)}
        found = self.explainer.explain(patient, list(wanted.values())) if wanted else None
        reason = self.explainer.missing.get(patient, "no label texts")
        if found is None:
            log.warning("%s is left out: %s", patient, reason)
            self.cases.append({**row, "status": "left_out", "reason": reason})
            return
        if found.attention is not None:
            path = self.folder / "tiles" / f"{patient}.h5"
            self._write_tiles(path, patient, found.attention)
            row |= {"path": path.relative_to(self.folder).as_posix(), "sha256": file_digest(path)}
        self.cases.append({**row, "status": "done"})
        for numbers, pathways in self._rows(found, wanted):
            self.numbers.append(numbers)
            self.pathways.append(pathways)

    def _rows(self, found: Explanation, wanted: Mapping[str, Scalar]) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
        for name, attribution in found.attributions.items():
            checked, task = attribution.checked, wanted[name].task
            key = {"patient_id": found.patient_id, "scalar": name, "task": task}
            if not checked.complete:
                log.warning(
                    "%s, %s: attributions miss the change of %.4g by %.2g after %d evaluations",
                    found.patient_id, name, checked.end - checked.start, checked.gap, checked.evaluations,
                )  # fmt: skip
            numbers = {
                "value": checked.end,
                "baseline": checked.start,
                "attributed": checked.end - checked.start - checked.gap,
                "gap": checked.gap,
                "allowed": checked.allowed,
                "complete": checked.complete,
                "evaluations": checked.evaluations,
            }
            attention = found.pathway_attention.get(task, np.full(len(self.explainer.pathways), np.nan))
            frame = pd.DataFrame({"pathway": list(self.explainer.pathways), "attribution": attribution.values})
            yield {**key, **numbers}, frame.assign(attention=attention, **key)

    def _write_tiles(self, path: Path, patient: str, attention: TileAttention) -> None:
        text = h5py.string_dtype()
        arrays: dict[str, Any] = {
            "coords": attention.coords,
            "slide": attention.slide,
            "token": attention.token,
            "shares": self.explainer.shares,
            **attention.maps,
        }
        names = {"slide_ids": attention.slide_ids, "prompt": self.explainer.prompt, "pathways": self.explainer.pathways}
        with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
            file.attrs[METADATA_KEY] = self.provenance("tile_attention").to_json()
            file.attrs["patient_id"] = patient
            for name, values in arrays.items():
                compressed = {"compression": "gzip", "shuffle": True} if values.size else {}
                file.create_dataset(name, data=values, **compressed)
            for name, strings in names.items():
                file.create_dataset(name, data=list(strings), dtype=text)

    def close(self) -> None:
        """Write the tables."""
        none = pd.DataFrame(columns=list(PATHWAYS.columns))
        tables = {
            "cases": (EXPLAINED_CASES, pd.DataFrame(self.cases, columns=list(EXPLAINED_CASES.columns))),
            "scalars": (EXPLAINED_SCALARS, pd.DataFrame(self.numbers, columns=list(EXPLAINED_SCALARS.columns))),
            "pathways": (PATHWAYS, pd.concat(self.pathways) if self.pathways else none),
        }
        models = [found.rows for found in self.compared] or [pd.DataFrame(columns=list(PATHWAY_MODELS.columns))]
        controls = judged(self.compared) if self.compared else pd.DataFrame(columns=list(CONTROLS.columns))
        tables |= {"pathway_models": (PATHWAY_MODELS, pd.concat(models)), "controls": (CONTROLS, controls)}
        for name, (schema, frame) in tables.items():
            write_table(frame, schema, self.folder / f"{name}.parquet", self.provenance(schema.name))
