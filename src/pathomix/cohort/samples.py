"""Which samples of a molecular block are used: their sample types, the cohort's patients, several files as one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from pathomix.cohort.block_specs import BlockSpec
from pathomix.cohort.clinical import Keyed
from pathomix.cohort.description import Description
from pathomix.cohort.import_log import ImportLog
from pathomix.cohort.matrix_files import Matrix, read_matrix
from pathomix.cohort.raw import patient_of
from pathomix.core.barcodes import sample_type
from pathomix.core.errors import PathomixError

# Parts of one block measured by one pipeline share their genes; fewer than this share and they are of other kinds.
_SMALLEST_SHARED = 0.5


class Renamer(Protocol):
    """Brings gene names to approved symbols; handed in, because gene names belong to the genomics room."""

    def rename(self, names: Sequence[str]) -> tuple[list[str], Mapping[str, Any]]:
        """The approved symbols, empty where a name is none, and counts and lists for a report."""

    def matched(self, genes: Iterable[str], measured: Collection[str]) -> dict[str, str]:
        """Genes of gene sets to the measured gene they are; only those that are measured."""


@dataclass(frozen=True)
class Samples:
    """The used samples of a block; columns may repeat a symbol.

    Attributes:
        label: Where they come from, for errors and reports.
        sample_ids: Their names.
        patients: Their patients.
        genes: Gene symbols.
        values: float32 [samples, genes].
        found: The first sample names of the files, used or not.
        counts: What was left out so far.
    """

    label: str
    sample_ids: list[str]
    patients: list[str]
    genes: list[str]
    values: np.ndarray
    found: list[str]
    counts: Mapping[str, Any]

    def take(self, rows: np.ndarray) -> Samples:
        """Some of the samples, in the given order; no copy where it is all of them as they stand."""
        if np.array_equal(rows, np.arange(len(self.sample_ids))):
            return self
        ids, patients = [self.sample_ids[i] for i in rows], [self.patients[i] for i in rows]
        return replace(self, sample_ids=ids, patients=patients, values=self.values[rows])


@dataclass
class _Choice:
    """Picks samples by name and remembers whose they are."""

    kind: str
    spec: BlockSpec
    label: str
    cohort: pd.Index
    log: ImportLog
    patient: Callable[[str], str]
    found: tuple[str, ...] = ()
    patients: tuple[str, ...] = ()
    other_types: Mapping[str, int] | None = None

    def __call__(self, names: Sequence[str]) -> list[int]:
        """Positions of the samples to use."""
        named = [i for i, name in enumerate(names) if name]
        self.log.quarantine([""] * (len(names) - len(named)), self.label, "sample without an id")
        patients = {i: self.patient(names[i]) for i in named}
        chosen = self._of_types(names, named)
        outside = sorted({patients[i] for i in chosen} - set(self.cohort))
        self.log.quarantine(outside, self.label, f"{self.kind} of a patient who is not in the patients table")
        used = [i for i in chosen if patients[i] in self.cohort]
        self.found, self.patients = tuple(names[:3]), tuple(patients[i] for i in used)
        return used

    def _of_types(self, names: Sequence[str], named: list[int]) -> list[int]:
        types = {i: sample_type(names[i]) for i in named}
        present = sorted({t for t in types.values() if t is not None})
        wanted = self.spec.sample_types
        if wanted is None:
            if present:
                raise PathomixError(
                    f"{self.label}: the ids carry TCGA sample types {present}; normal tissue (11) must not slip in",
                    remedy=f'choose them: `molecular.{self.kind}.sample_types: ["01"]` for primary tumour',
                )
            return named
        if not present:
            raise PathomixError(
                f"{self.label}: `molecular.{self.kind}.sample_types` is set, but the ids carry no sample type",
                offending=[names[i] for i in named[:3]],
                remedy="remove `sample_types`",
            )
        left = Counter(t or "none" for t in types.values() if t not in wanted)
        self.other_types = dict(sorted(left.items()))
        return [i for i in named if types[i] in wanted]


def samples_of_columns(
    kind: str,
    spec: BlockSpec,
    keyed: Keyed,
    sample_column: str,
    positions: list[int],
    cohort: pd.Index,
    log: ImportLog,
    renamer: Renamer | None,
) -> Samples:
    """The block that lies in some columns of a table.

    Raises:
        PathomixError: Sample types are not chosen, or none of them is there.
    """
    table, cut = keyed.table, len(spec.suffix or "")
    genes = [table.columns[i][: len(table.columns[i]) - cut] for i in positions]
    ids = table.verbatim(sample_column).tolist()
    owner = dict(zip(ids, keyed.patients, strict=True))
    choice = _Choice(kind, spec, table.label, cohort, log, owner.__getitem__)
    rows = choice(ids)
    values = table.frame[positions].to_numpy(np.float32)[rows]
    matrix = Matrix(table.label, [ids[i] for i in rows], genes, values, len(ids))
    return _named(kind, spec, _together([matrix], [choice], log), log, renamer)


def samples_of_files(
    kind: str,
    spec: BlockSpec,
    description: Description,
    name: str,
    root: Path,
    cohort: pd.Index,
    log: ImportLog,
    renamer: Renamer | None,
) -> Samples:
    """The block that lies in files of its own, in either orientation; only the cohort's samples are read.

    Raises:
        PathomixError: A file cannot be read, an id is no patient's, sample types are not chosen or none of them is
            there, or the parts share less than half of their genes.
    """
    matrices, choices = [], []
    for label in spec.files(name):
        choice = _Choice(kind, spec, label, cohort, log, partial(_patient, description, spec, label))
        in_rows = spec.orientation == "genes_in_rows"
        matrices.append(read_matrix(root / label, label, choice, genes_in_rows=in_rows, kind=spec.format))
        choices.append(choice)
    return _named(kind, spec, _together(matrices, choices, log), log, renamer)


def _patient(description: Description, spec: BlockSpec, label: str, text: str) -> str:
    try:
        return patient_of(text, description.id, label)
    except PathomixError as error:
        turned = "patients_in_rows" if spec.orientation == "genes_in_rows" else "genes_in_rows"
        raise PathomixError(
            error.fact, offending=error.offending, remedy=f"{error.remedy}, or `orientation: {turned}`"
        ) from error


def _together(matrices: Sequence[Matrix], choices: Sequence[_Choice], log: ImportLog) -> Samples:
    """One block from its parts, over the genes that all of them measure."""
    label = ", ".join(matrix.label for matrix in matrices)
    counts: dict[str, Any] = {
        "rows_in": sum(matrix.found for matrix in matrices),
        "genes_in": max(len(matrix.genes) for matrix in matrices),
    }
    if any(choice.other_types is not None for choice in choices):
        types = sum((Counter(choice.other_types or {}) for choice in choices), Counter())
        counts["other_sample_types"] = dict(sorted(types.items()))
    genes, values = matrices[0].genes, [matrix.values for matrix in matrices]
    if any(matrix.genes != genes for matrix in matrices):
        places = [_occurrences(matrix.genes) for matrix in matrices]
        every = set().union(*places)
        shared = [key for key in places[0] if all(key in other for other in places)]
        if len(shared) < _SMALLEST_SHARED * len(every):
            raise PathomixError(
                f"the parts {label} share {len(shared)} of {len(every)} genes", offending=[m.label for m in matrices],
                remedy="give tables of one kind for all parts",
            )  # fmt: skip
        log.warn(f"{label}: {len(every) - len(shared)} of {len(every)} genes are not in all parts and are left out")
        counts["genes_not_in_all_parts"] = len(every) - len(shared)
        genes = [gene for gene, _ in shared]
        values = [part[:, [p[key] for key in shared]] for part, p in zip(values, places, strict=True)]
    return Samples(
        label,
        [sample for matrix in matrices for sample in matrix.samples],
        [patient for choice in choices for patient in choice.patients],
        list(genes),
        values[0] if len(values) == 1 else np.concatenate(values),
        [sample for choice in choices for sample in choice.found],
        counts,
    )


def _occurrences(genes: Sequence[str]) -> dict[tuple[str, int], int]:
    """Symbol and how often it stood before, to its place: repeated symbols of two files are matched in order."""
    seen: Counter[str] = Counter()
    result = {}
    for place, gene in enumerate(genes):
        result[gene, seen[gene]] = place
        seen[gene] += 1
    return result


def _named(kind: str, spec: BlockSpec, samples: Samples, log: ImportLog, renamer: Renamer | None) -> Samples:
    """Symbols brought to their approved form, genes without one left out or refused."""
    genes = samples.genes
    if renamer is not None:
        genes, report = renamer.rename(genes)
        log.step("symbols", samples.label, kind=kind, **report)
    unnamed = [j for j, gene in enumerate(genes) if gene in ("", "?")]
    if not unnamed:
        return replace(samples, genes=list(genes))
    if spec.unnamed_genes == "error":
        raise PathomixError(
            f"{samples.label}: genes without a symbol", offending=[f"gene {j + 1}" for j in unnamed],
            remedy=f"name or remove them, or set `molecular.{kind}.unnamed_genes: drop`",
        )  # fmt: skip
    keep = np.setdiff1d(np.arange(len(genes)), unnamed)
    counts = {**samples.counts, "genes_without_symbol": len(unnamed)}
    return replace(samples, genes=[genes[j] for j in keep], values=samples.values[:, keep], counts=counts)
