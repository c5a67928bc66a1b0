"""Cases as ModalTune reads them: tiles laid out for the slide encoder, genes, clinical numbers, text targets."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from pathomix.cohort.cases import Bag, Cases
from pathomix.core.errors import PathomixError
from pathomix.core.texts import TEXT_TASKS
from pathomix.foundation.layout import Layout
from pathomix.foundation.slide_encoder import SlideEncoder
from pathomix.nn.modaltune import View
from pathomix.representations.measurements import ClinicalScaling, GeneScaling

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Readers:
    """What a model reads of a patient; None for a modality that it does not have.

    Attributes:
        encoder: Slide encoder that tiles are laid out for.
        layout: How.
        genes: Genes and their scaling.
        clinical: Clinical numbers and their scaling.
        cache_bytes: Memory for tiles.
    """

    encoder: SlideEncoder | None
    layout: Layout
    genes: GeneScaling | None
    clinical: ClinicalScaling | None
    cache_bytes: int


class Batch(NamedTuple):
    """Cases with equally many tiles, on the CPU.

    Attributes:
        rows: Their row numbers in the inputs they come from.
        features: float32 [B, L, in_dim].
        coords: int64 [B, L, 2].
        genes: float32 [B, memberships].
        clinical: float32 [B, 5].
    """

    rows: list[int]
    features: Tensor | None
    coords: Tensor | None
    genes: Tensor | None
    clinical: Tensor | None

    def inputs(self, device: torch.device) -> dict[str, Tensor]:
        """Arguments of the network, on its device."""
        named = {
            "features": self.features,
            "coords": self.coords,
            "genes": self.genes,
            "clinical": self.clinical,
        }
        return {name: value.to(device) for name, value in named.items() if value is not None}


class _Laid(NamedTuple):
    """Tiles of a case; features as float16 where that loses nothing."""

    features: NDArray[np.floating]
    coords: NDArray[np.int64]


class CaseInputs:
    """Inputs of the patients who have every modality the model reads.

    Tiles are read when they are first asked for. A patient whose tiles turn out to be unusable then is skipped and
    joins `missing`.

    Args:
        cases: Patients.
        readers: What to read of them.
        needs_texts: Whether patients without label texts are left out.

    Attributes:
        ids: Patients, in table order.
        missing: Patient to the reason for being left out.
    """

    def __init__(self, cases: Cases, readers: Readers, *, needs_texts: bool = False) -> None:
        self._cases, self._readers = cases, readers
        self.missing: dict[str, str] = {}
        frames: dict[str, pd.DataFrame] = {}
        if readers.genes is not None:
            frames["expression"] = _expression(cases, readers.genes)
        if readers.clinical is not None:
            frames["age"] = readers.clinical.rows(cases.patients)
        present: dict[str, Collection[str]] = {name: frozenset(frame.index) for name, frame in frames.items()}
        if readers.encoder is not None:
            _require_width(cases, readers.encoder)
            present["embedded slide"] = cases.tiles.patient_ids if cases.tiles is not None else ()
        if needs_texts:
            present["label texts"] = cases.texts.patient_ids if cases.texts is not None else ()
        self.ids = cases.ids
        for name, patients in present.items():
            have = self.ids.isin(list(patients))
            self.missing.update({str(patient): f"no {name}" for patient in self.ids[~have]})
            self.ids = self.ids[have]
        self._matrices = {name: torch.from_numpy(frame.loc[self.ids].to_numpy()) for name, frame in frames.items()}
        self._memory: dict[str, Bag | _Laid] = {}
        self._free = readers.cache_bytes

    def targets(self, tasks: Sequence[str]) -> Tensor:
        """Text embeddings [patients, tasks, dim].

        Raises:
            PathomixError: An embedding has not the width of its store, or is not finite.
        """
        texts = self._cases.texts
        assert texts is not None  # patients without texts have been left out
        chosen = [TEXT_TASKS.index(task) for task in tasks]
        found = [texts.embedding(str(patient)) for patient in self.ids]
        shape = (len(TEXT_TASKS), texts.dim)
        wrong = [str(p) for p, rows in zip(self.ids, found, strict=True) if rows.shape != shape]
        damaged = [str(p) for p, rows in zip(self.ids, found, strict=True) if not np.isfinite(rows).all()]
        if wrong or damaged:
            fact = f"text embeddings have not the shape {shape}" if wrong else "text embeddings are not finite"
            raise PathomixError(fact, offending=wrong or damaged, remedy="run write_texts again with one encoder")
        return torch.from_numpy(np.stack(found)[:, chosen]) if found else torch.zeros(0, len(chosen), texts.dim)

    def groups(self, rows: Iterable[int], draw: int, at_once: int, view: View = "joint") -> Iterator[Batch]:
        """Batches of cases with equally many tiles; together they hold every one of `rows` once, unusable ones aside.

        Args:
            rows: Row numbers of patients.
            draw: Number of the draw of a subset of tiles, where it is redrawn.
            at_once: Largest number of tiles of a batch of more than one case; also of what is held back meanwhile.
            view: Batches without genes (``image``), or without tiles (``genes``: none is read).
        """
        for batch in self._groups(rows, draw, at_once, self._readers.encoder is not None and view != "genes"):
            yield batch._replace(genes=None) if view == "image" else batch

    def _groups(self, rows: Iterable[int], draw: int, at_once: int, tiles: bool) -> Iterator[Batch]:
        if not tiles:
            yield from (self._batch(part, []) for part in _chunks(list(rows), max(1, at_once)))
            return
        waiting: dict[int, list[tuple[int, _Laid]]] = {}
        for row in rows:
            laid = self._laid(row, draw)
            if laid is None:
                continue
            group = waiting.setdefault(len(laid.features), [])
            group.append((row, laid))
            if (len(group) + 1) * len(laid.features) > at_once:
                yield self._joined(waiting.pop(len(laid.features)))
            elif sum(len(g) * size for size, g in waiting.items()) > 4 * at_once:
                yield self._joined(waiting.pop(max(waiting, key=lambda size: len(waiting[size]) * size)))
        yield from (self._joined(waiting[size]) for size in sorted(waiting))

    def _joined(self, group: list[tuple[int, _Laid]]) -> Batch:
        return self._batch([row for row, _ in group], [laid for _, laid in group])

    def _batch(self, rows: list[int], laid: list[_Laid]) -> Batch:
        features = coords = None
        if laid:
            features = torch.from_numpy(np.stack([case.features for case in laid]).astype(np.float32))
            coords = torch.from_numpy(np.stack([case.coords for case in laid]))
        genes, clinical = (self._matrices.get(name) for name in ("expression", "age"))
        return Batch(
            rows, features, coords, None if genes is None else genes[rows], None if clinical is None else clinical[rows]
        )

    def _laid(self, row: int, draw: int) -> _Laid | None:
        """Tiles of a patient from memory, or read; a redrawn subset is drawn from the whole bag every time."""
        patient = str(self.ids[row])
        encoder, layout, tiles = self._readers.encoder, self._readers.layout, self._cases.tiles
        known = self._memory.get(patient)
        if isinstance(known, _Laid) or patient in self.missing:
            return known if isinstance(known, _Laid) else None
        assert encoder is not None and tiles is not None
        bag = known or tiles.bag(patient)
        redrawn = layout.subset == "redrawn"
        try:
            _require_finite(bag, patient)
            arranged = encoder.arrange(bag, patient, layout, draw if redrawn else None)
        except PathomixError as error:
            log.warning("%s is left out: %s", patient, error)
            self.missing[patient] = str(error)
            return None
        laid = _Laid(_narrow(arranged.features), arranged.coords)
        if known is None:
            kept: Bag | _Laid = bag if redrawn else laid
            size = kept.features.nbytes + kept.coords.nbytes
            if size <= self._free:
                self._free -= size
                self._memory[patient] = kept
        return laid


def _require_width(cases: Cases, encoder: SlideEncoder) -> None:
    if cases.tiles is not None and cases.tiles.patient_ids and cases.tiles.dim != encoder.in_dim:
        raise PathomixError(
            f"tile features have width {cases.tiles.dim}, the slide encoder reads {encoder.in_dim}",
            remedy="pair the slide encoder with the tile encoder the model was trained with",
        )


def _require_finite(bag: Bag, patient: str) -> None:
    if not np.isfinite(bag.features).all():
        raise PathomixError(
            f"{patient}: tile features are not finite", remedy="run embed_tiles again for the slides of this patient"
        )


def _expression(cases: Cases, genes: GeneScaling) -> pd.DataFrame:
    return genes.rows(cases.expression if cases.expression is not None else pd.DataFrame(index=cases.ids[:0]))


def _narrow(features: NDArray[np.float32]) -> NDArray[np.floating]:
    """Features as float16 when they have been stored as such, which halves the memory of a cohort."""
    with np.errstate(over="ignore"):
        narrow = features.astype(np.float16)
    return narrow if np.array_equal(narrow.astype(np.float32), features) else features


def _chunks(rows: list[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def report_missing(inputs: CaseInputs, part: str) -> None:
    """Log who was left out of a part and why, once per reason."""
    by_reason: dict[str, list[str]] = {}
    for patient, reason in inputs.missing.items():
        by_reason.setdefault(reason, []).append(patient)
    for reason, patients in by_reason.items():
        log.warning("%d patients of the %s part are left out (%s): %s", len(patients), part, reason,
                    ", ".join(patients[:8]) + (" ..." if len(patients) > 8 else ""))  # fmt: skip
