"""Who was looked at while something was fitted: every statistic notes its patients, the leakage guard reads the record.

Where a mean, a median, a vocabulary, a bin edge, a class weight or an epoch is chosen, the code calls `note_fitted`
with the patients it saw. Inside `recording` the notes are kept; outside they cost nothing. The record of a run is
stored with it (design section 7: no preprocessing statistic that saw a test row).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from pathomix.core.files import content_key

TRAIN, VALID, HELD_OUT, NO_PART = "train", "valid", "held_out", "no part"

STEPS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "training": (),
        "scaler": (),
        "imputation": (),
        "gene_filter": (),
        "vocabulary": (),
        "survival_bins": (),
        "class_statistics": (),
        "sampler": (),
        "selection": (VALID,),
        "risk_scale": (VALID,),
        "vectors": (VALID,),
        "text_bins": (HELD_OUT,),
    }
)
"""Steps, and the parts each may see beyond those that the model is fitted on.

training: outcomes or targets. scaler: means, standard deviations, maxima. imputation: medians. gene_filter: features
left out because they do not vary. vocabulary: category levels, clusters of tiles. survival_bins: edges of time
intervals.
class_statistics: classes and their weights. sampler: strata of folds and batches. selection: early stopping, penalties,
the epoch kept. risk_scale: scale on which late fusion adds risks, taken from patients its components had not seen.
vectors: patients the model behind stored vectors was fitted or selected on. text_bins: intervals of the label texts;
they are those of the fold, whoever cross-fitting leaves out of one of its models."""


class FittingRecord:
    """Which patients each step looked at; a set of patients that recurs is kept once.

    The same record may be written to from several threads. A worker process has to open its own and send it back as
    `to_dict`, for `merge`.
    """

    def __init__(self) -> None:
        self._seen: dict[str, set[frozenset[str]]] = {}
        self._process = os.getpid()

    @property
    def is_here(self) -> bool:
        """Whether this process opened it: what a forked child writes into its copy would be lost."""
        return self._process == os.getpid()

    @property
    def steps(self) -> tuple[str, ...]:
        """Steps noted, sorted."""
        return tuple(sorted(self._seen))

    def note(self, step: str, ids: Iterable[object]) -> None:
        """Add patients to a step.

        Raises:
            ValueError: The step is not one of STEPS.
        """
        if step not in STEPS:
            raise ValueError(f"unknown step {step!r}; known: {sorted(STEPS)}")
        self._seen.setdefault(step, set()).add(frozenset(map(str, ids)))

    def ids(self, step: str) -> frozenset[str]:
        """All patients that a step saw; none for one that was not taken."""
        return frozenset().union(*self._seen.get(step, ()))

    def merge(self, other: FittingRecord) -> None:
        """Add what another record holds."""
        for step, found in other._seen.items():
            self._seen.setdefault(step, set()).update(found)

    def to_dict(self) -> dict[str, list[list[str]]]:
        """Step to its sets of patients, JSON-serialisable, equal for equal content."""
        return {step: sorted(sorted(ids) for ids in self._seen[step]) for step in self.steps}

    @classmethod
    def from_dict(cls, content: Mapping[str, Iterable[Iterable[str]]]) -> FittingRecord:
        """Inverse of `to_dict`."""
        record = cls()
        for step, found in content.items():
            for ids in found:
                record.note(step, ids)
        return record

    def summary(self, parts: Mapping[str, Collection[str]]) -> dict[str, dict[str, Any]]:
        """Per step the number of distinct patients, a digest of their ids, and the parts they are of."""
        result = {}
        for step in self.steps:
            ids = self.ids(step)
            result[step] = {
                "patients": len(ids),
                "digest": content_key(ids=sorted(ids)),
                "parts": list(parts_of_ids(ids, parts)),
            }
        return result


def parts_of_ids(ids: Collection[str], parts: Mapping[str, Collection[str]]) -> tuple[str, ...]:
    """Parts with any of the patients, in the order given; NO_PART last where one is in none."""
    rest = set(ids)
    found = []
    for part, members in parts.items():
        inside = rest & set(members)
        if inside:
            found.append(part)
            rest -= inside
    return (*found, NO_PART) if rest else tuple(found)


_OPEN: ContextVar[tuple[FittingRecord, ...]] = ContextVar("pathomix_fitting", default=())


@contextmanager
def recording() -> Iterator[FittingRecord]:
    """Keep what is noted inside the block.

    Blocks may be nested: the outer record holds what the inner one does. Records of different threads are apart; a
    worker thread writes to this one when it runs in a copy of the context (`contextvars.copy_context`).
    """
    record = FittingRecord()
    token = _OPEN.set((*_OPEN.get(), record))
    try:
        yield record
    finally:
        _OPEN.reset(token)


def note_fitted(step: str, ids: Iterable[object]) -> None:
    """Say that a step looked at these patients.

    Args:
        step: One of STEPS.
        ids: Patient ids: the index of the frame it saw, `Cases.ids`.

    Raises:
        ValueError: The step is not one of STEPS.
        RuntimeError: The record was opened by another process, which would never see the note.
    """
    if step not in STEPS:
        raise ValueError(f"unknown step {step!r}; known: {sorted(STEPS)}")
    records = _OPEN.get()
    here = [record for record in records if record.is_here]
    if records and not here:
        raise RuntimeError(f"{step}: fitted in a worker process; open a `recording` there and merge it into the run's")
    if here:
        found = frozenset(map(str, ids))
        for record in here:
            record.note(step, found)


def note_carried(artefact: object) -> None:
    """Note whom a stored artefact was fitted on, where it carries a record (attribute `fitting`)."""
    carried = getattr(artefact, "fitting", None)
    if isinstance(carried, FittingRecord):
        for record in _OPEN.get():
            record.merge(carried)


@dataclass(frozen=True)
class Fit:
    """One finished fit, before anything of it is written.

    Attributes:
        where: Row, cohort, fold and seed, for messages.
        record: Whom its steps looked at.
        parts: Part (`train`, `valid`, `test`; `held_out` in cross-fitting) to its patients.
        fitted_parts: Parts that the model may be fitted on: `train`, with `valid` where it is joined to it.
        declared: Step to the setting that says openly that it looks further (fidelity profiles).
        inherited: Declared leaks of stored vectors that the fit reads.
    """

    where: str
    record: FittingRecord
    parts: Mapping[str, Collection[str]]
    fitted_parts: tuple[str, ...] = (TRAIN,)
    declared: Mapping[str, str] = field(default_factory=dict)
    inherited: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def beyond(self) -> dict[str, frozenset[str]]:
        """Step to the patients it looked at without leave, declared or not; steps without any are absent."""
        result = {}
        for step in self.record.steps:
            leave = {p for part in (*self.fitted_parts, *STEPS[step]) for p in self.parts.get(part, ())}
            if found := self.record.ids(step) - leave:
                result[step] = found
        return result

    def facts(self) -> dict[str, Any]:
        """Entries of ``run.json``: `fitted_on`, and `leak_declared` where a declared step looked further."""
        declared: dict[str, Any] = {
            step: {
                "setting": self.declared[step],
                "patients": len(ids),
                "parts": list(parts_of_ids(ids, self.parts)),
            }
            for step, ids in self.beyond().items()
            if step in self.declared
        }
        declared |= {f"vectors.{step}": dict(facts) for step, facts in self.inherited.items()}
        return {"fitted_on": self.record.summary(self.parts), **({"leak_declared": declared} if declared else {})}


Guard = Callable[[Fit], None]
"""Refuses a fit that leaks, by raising; `evaluate.leakage.guard` gives one."""
