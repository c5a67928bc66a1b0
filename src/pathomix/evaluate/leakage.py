"""The leakage guard: no patient, slide or specimen on two sides, no normal tissue, no statistic that saw a test row.

Every training rule calls `guard` once: it looks at the split before anything is fitted and hands back the check that is
asked after every fit, before its predictions or vectors are written. All findings come in one error.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pathomix.cohort.cases import Cases
from pathomix.core.barcodes import is_barcode, patient_barcode, sample_type
from pathomix.core.errors import PathomixError
from pathomix.core.fitting import Fit, Guard, parts_of_ids
from pathomix.core.schemas import RUN_INDEX, SLIDE_INDEX, SLIDES
from pathomix.core.tables import read_table

PATIENT, SLIDE, DUPLICATE, NORMAL = "patient in two parts", "slide in two parts", "duplicate specimen", "normal sample"
# A profile of fewer distinct values can be equal by chance (one gene, calls of -2..2, a row of zeros).
_SMALLEST_PROFILE = 10
_SHOWN = 8
_DIGESTS = {"md5": "the same file (md5)", "key": "features of the same slide (key)", "sha256": "the same feature file"}

_STEPS = {
    "training": "outcomes or targets that parameters were trained on",
    "scaler": "means and standard deviations (scaler)",
    "imputation": "imputation values",
    "gene_filter": "the filter of genes that vary",
    "vocabulary": "category levels",
    "survival_bins": "edges of the survival bins",
    "class_statistics": "classes and their weights (class statistics)",
    "sampler": "strata of folds and batches",
    "selection": "early stopping, or the choice of a penalty or an epoch (selection)",
    "risk_scale": "the scale of risks of late fusion",
    "vectors": "the model behind the stored vectors",
    "text_bins": "survival bins of the label texts",
}
_STEP_REMEDIES = {
    "vectors": "embed the cohort with models trained on this split (embed_cohort), or run on the split they have",
    "text_bins": "run write_texts again with these splits and `bins_from: train`",
    "selection": "hand over the valid part of the fold, never the test part, and run the rule again",
}
_FIT_ON_TRAIN = (
    "fit it on the training part and run the rule again; a profile that looks further on purpose says so in "
    "`declared_leaks`"
)


@dataclass(frozen=True)
class Finding:
    """One leak.

    Attributes:
        leak: PATIENT, SLIDE, DUPLICATE or NORMAL, or a step of `core.fitting.STEPS`.
        fact: What is wrong.
        ids: Patients or slides concerned, each with what is wrong with it.
        remedy: What to type or change next.
    """

    leak: str
    fact: str
    ids: tuple[str, ...]
    remedy: str

    def __str__(self) -> str:
        shown, more = ", ".join(self.ids[:_SHOWN]), len(self.ids) - _SHOWN
        return f"{self.fact}: {shown}{f' and {more} more' if more > 0 else ''}; {self.remedy}"


class LeakageError(PathomixError):
    """All leaks of one split or fit.

    Args:
        where: Cohort, or row, fold and seed.
        findings: At least one.
    """

    def __init__(self, where: str, findings: Sequence[Finding]) -> None:
        self.where, self.findings = where, tuple(findings)
        count = f"{len(findings)} leaks" if len(findings) > 1 else "a leak"
        super().__init__(
            f"{where}: {count}",
            offending=[i for f in findings for i in f.ids],
            remedy="nothing of it is written until then",
        )

    def __str__(self) -> str:
        numbered = " ".join(f"({number}) {finding}." for number, finding in enumerate(self.findings, 1))
        return f"{self.fact}: {numbered} Nothing of it has been written"

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.where, self.findings)


def guard(
    cases: Cases,
    splits: pd.DataFrame,
    *,
    where: str = "",
    slides: str | os.PathLike[str] | None = None,
    features: Sequence[str | os.PathLike[str]] = (),
) -> Guard:
    """Refuse leaks of the split, and give the check that every fit on it has to pass.

    Args:
        cases: The cohort.
        splits: SPLITS rows, all folds.
        where: Cohort and scheme, for messages.
        slides: SLIDES table of the cohort; None where it has no slides.
        features: Feature indices (SLIDE_INDEX) the run reads.

    Raises:
        LeakageError: See `check_split`.
    """
    check_split(cases, splits, where=where, slides=slide_table(slides, features))
    return check_fitted


def slide_table(
    slides: str | os.PathLike[str] | None, features: Sequence[str | os.PathLike[str]] = ()
) -> pd.DataFrame | None:
    """Slides of the cohort and of the features that are read: `slide_id`, `patient_id`, `md5`, `key`, `sha256`.

    Raises:
        PathomixError: The slide table is not there.
    """
    if slides is not None and not Path(slides).is_file():
        raise PathomixError(f"{slides}: there is no slide table", remedy="run the rule build_cohort")
    frames = [read_table(slides, SLIDES)[["slide_id", "patient_id", "md5"]]] if slides is not None else []
    for path in features:
        index = read_table(path, SLIDE_INDEX)
        frames.append(index.loc[index["status"] == "done", ["slide_id", "patient_id", "key", "sha256"]])
    return pd.concat(frames, ignore_index=True) if frames else None


# before fitting


def check_split(
    cases: Cases, splits: pd.DataFrame, *, where: str = "the split", slides: pd.DataFrame | None = None
) -> None:
    """Refuse a split with a patient, a slide or a specimen on two sides, or with normal tissue in it.

    A patient counts by the barcode where the id is one, a slide by its id and by its slide barcode, a specimen by the
    file's digest, by the features made from it, and by its expression profile.

    Args:
        cases: The cohort.
        splits: SPLITS rows, one or several folds.
        where: Cohort and scheme, for messages.
        slides: Columns `slide_id` and `patient_id`, and any of `md5`, `key` and `sha256`.

    Raises:
        LeakageError: With every finding.
    """
    sides = _Sides.of(splits)
    findings = [*sides.patients(), *_normals(cases, sides, slides)]
    if slides is not None:
        findings += _slides(slides, sides)
    findings += _profiles(cases, sides)
    if findings:
        raise LeakageError(where or "the split", findings)


@dataclass(frozen=True)
class _Sides:
    """Fold to patient to the parts it is in."""

    folds: Mapping[int, Mapping[str, frozenset[str]]]

    @classmethod
    def of(cls, splits: pd.DataFrame) -> _Sides:
        folds: dict[int, dict[str, frozenset[str]]] = {}
        for fold, patient, part in splits[["fold", "patient_id", "part"]].itertuples(index=False):
            members = folds.setdefault(int(fold), {})
            members[str(patient)] = members.get(str(patient), frozenset()) | {str(part)}
        return cls(folds)

    @property
    def everybody(self) -> frozenset[str]:
        """Patients of any fold."""
        return frozenset(patient for members in self.folds.values() for patient in members)

    def apart(self, group: Iterable[str]) -> str | None:
        """Where these patients are on two sides, in words; None where they are not."""
        ids = sorted(set(group))
        for fold, members in self.folds.items():
            parts = {patient: members[patient] for patient in ids if patient in members}
            if len(frozenset().union(*parts.values())) > 1:
                named = (f"{patient} in {' and '.join(sorted(found))}" for patient, found in parts.items())
                return f"{', '.join(named)} of fold {fold}"
        return None

    def patients(self) -> Iterator[Finding]:
        """Patients in two parts, under one id or several."""
        groups: dict[str, set[str]] = {}
        for patient in self.everybody:
            groups.setdefault(_patient(patient), set()).add(patient)
        found = _on_two_sides(groups, self)
        if found:
            yield Finding(
                PATIENT, "patients are in two parts of one fold", tuple(f"[{ids}]" for ids in found),
                "use splits by patient, or make new ones with split_cohort",
            )  # fmt: skip


def _on_two_sides(groups: Mapping[str, Iterable[str]], sides: _Sides) -> list[str]:
    return [words for _, group in sorted(groups.items()) if (words := sides.apart(group)) is not None]


def _patient(text: str) -> str:
    return patient_barcode(text) if is_barcode(text) else text


def _normals(cases: Cases, sides: _Sides, slides: pd.DataFrame | None) -> Iterator[Finding]:
    """Ids whose sample type is normal tissue (10 to 19), among the patients, the measured and the slides."""
    named = [cases.ids, *(m.index for m in _matrices(cases).values())]
    everybody = sides.everybody
    ids = {str(name) for index in named for name in index if str(name) in everybody} | set(everybody)
    if slides is not None:
        owned = slides["patient_id"].isin(everybody)
        ids |= set(slides.loc[owned, "slide_id"].astype(str))
    normal = sorted(name for name in ids if (sample_type(name) or "")[:1] == "1")
    if normal:
        yield Finding(
            NORMAL, "samples of normal tissue stand in for tumour", tuple(normal),
            'choose the tumour\'s (`sample_types: ["01"]`) in the cohort\'s description and run build_cohort again',
        )  # fmt: skip


def _matrices(cases: Cases) -> dict[str, pd.DataFrame]:
    named = {name: getattr(cases, name) for name in ("expression", "copy_number", "mutation", "expression_vectors")}
    return {name: matrix for name, matrix in named.items() if matrix is not None}


def _slides(slides: pd.DataFrame, sides: _Sides) -> Iterator[Finding]:
    owners = slides["patient_id"].astype(str)
    ids = slides["slide_id"].astype(str)
    # What follows the first dot of a slide's name is the file's own identifier.
    barcode = ids.map(lambda name: name.split(".")[0] if is_barcode(name) else None)
    named = ids.where(barcode.isna(), ids.map(_patient))
    shared = _shared(ids, owners, sides) | _shared(barcode, owners, sides)
    strangers = {
        slide: words
        for slide, owner, other in zip(ids, owners, named, strict=True)
        if other != slide and other != _patient(owner) and (words := sides.apart((owner, other))) is not None
    }
    if shared or strangers:
        yield Finding(
            SLIDE, "slides are in two parts of one fold", _worded(shared | strangers),
            "give every slide to one patient in the slide table and run build_cohort again",
        )  # fmt: skip
    for column, what in _DIGESTS.items():
        if column not in slides:
            continue
        same = _shared(slides[column], owners, sides, ids)
        if same:
            yield Finding(
                DUPLICATE, f"slides of different patients are {what}, on two sides of a fold", _worded(same),
                "leave out all but one of each (overrides: `exclude`), or put these patients into one part",
            )  # fmt: skip


def _shared(values: pd.Series, owners: pd.Series, sides: _Sides, names: pd.Series | None = None) -> dict[str, str]:
    """Value (or the names it stands at) to where it is on two sides, for values that two patients have."""
    known = values.notna()
    frame = pd.DataFrame({"value": values[known].astype(str), "owner": owners[known]})
    if names is not None:
        frame["name"] = names[known]
    result = {}
    for value, group in frame.groupby("value"):
        if group["owner"].nunique() > 1 and (words := sides.apart(group["owner"])) is not None:
            label = str(value) if names is None else " = ".join(sorted(set(group["name"])))
            result[label] = words
    return result


def _worded(found: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(f"{name} ({words})" for name, words in sorted(found.items()))


def _profiles(cases: Cases, sides: _Sides) -> Iterator[Finding]:
    """Patients whose expression, or its embedding, is equal to the last digit."""
    for name, matrix in _matrices(cases).items():
        if name in ("copy_number", "mutation"):  # calls are equal by chance
            continue
        found = _on_two_sides({min(group): group for group in _equal_rows(matrix)}, sides)
        if found:
            yield Finding(
                DUPLICATE, f"rows of {name.replace('_', ' ')} are equal for patients on two sides of a fold",
                tuple(f"[{ids}]" for ids in found),
                "leave out all but one of each in the cohort's tables and run build_cohort again",
            )  # fmt: skip


def _equal_rows(matrix: pd.DataFrame) -> Iterator[list[str]]:
    """Groups of patients with equal rows, of rows with enough distinct values to be told from chance."""
    values = matrix.to_numpy()
    groups: dict[bytes, list[int]] = {}
    for place, row in enumerate(values):
        known = ~np.isnan(row)
        # Adding 0 makes -0 and 0 the same bytes; where values are missing is part of the profile.
        content = np.where(known, row, 0).astype(row.dtype) + 0
        digest = hashlib.blake2b(content.tobytes() + known.tobytes(), digest_size=16).digest()
        groups.setdefault(digest, []).append(place)
    for places in groups.values():
        row = values[places[0]]
        if len(places) > 1 and len(np.unique(row[~np.isnan(row)])) >= _SMALLEST_PROFILE:
            yield [str(matrix.index[place]) for place in places]


# after fitting


def check_fitted(fit: Fit) -> None:
    """Refuse a fit of which a step looked at patients it had no leave to see; declared steps are let through.

    Raises:
        LeakageError: With one finding per step.
    """
    findings = []
    for step, ids in fit.beyond().items():
        if step in fit.declared:
            continue
        parts = ", ".join(parts_of_ids(ids, fit.parts))
        fact = f"{_STEPS[step]}: fitted on {len(ids)} patients of other parts ({parts}) than it may see"
        findings.append(Finding(step, fact, tuple(sorted(ids)), _STEP_REMEDIES.get(step, _FIT_ON_TRAIN)))
    if findings:
        raise LeakageError(fit.where, findings)


# for the report

_RUN = ["method", "cohort", "scheme", "fold", "seed"]
LEAK_COLUMNS = (*_RUN, "step", "setting", "patients", "parts")
"""Columns of `declared_leaks`."""


def declared_leaks(indices: Sequence[str | os.PathLike[str]], results: str | os.PathLike[str]) -> pd.DataFrame:
    """What the runs of a study fitted on more patients than they should, by their own settings.

    Args:
        indices: RUN_INDEX tables of the study.
        results: Results folder.

    Returns:
        Columns method, cohort, scheme, fold, seed, step, setting, patients, parts (comma-separated), sorted; no row
        where nothing was declared. A step ``vectors.<step>`` was taken by the model behind the vectors of a row.

    Raises:
        PathomixError: A listed run has no readable ``run.json``.
    """
    rows: list[dict[str, Any]] = []
    for index in indices:
        for _, run in read_table(index, RUN_INDEX).dropna(subset=["path"]).iterrows():
            path = Path(results) / Path(str(run["path"])).parent / "run.json"
            try:
                record = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise PathomixError(f"{path}: cannot be read ({error})", remedy="run fit_method again") from error
            for step, facts in sorted(record.get("leak_declared", {}).items()):
                rows.append({**{name: run[name] for name in _RUN}, "step": step, **facts})
    frame = pd.DataFrame(rows, columns=list(LEAK_COLUMNS))
    frame["parts"] = frame["parts"].map(", ".join)
    return frame.sort_values([*_RUN, "step"], ignore_index=True)
