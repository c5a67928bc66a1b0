"""Patients of several cohorts by their expression vectors, before and after smoothing, on two principal components."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from pathomix.core.errors import PathomixError
from pathomix.core.schemas import PATIENTS
from pathomix.core.tables import read_table
from pathomix.report.style import MUTED, PAGE, method_looks, save, style
from pathomix.scgpt.protocol import require_same_protocol
from pathomix.smoothing.files import PatientVectors, read_vectors

WHEN = ("before", "after")
_SYMBOLS = ("^", "s", "D", "v", "P", "X", "<", ">", "*")
_UNLABELLED, _RARER = "no class", "other classes"


@dataclass(frozen=True)
class Patients:
    """Patients of several cohorts that have a vector, each once.

    Attributes:
        cohort: Cohort of each, index ``patient_id``.
        label: Class label of each, None where unknown.
        before: Vectors before smoothing, the same index.
        after: Vectors after it.
        notes: What is not drawn, in words.
    """

    cohort: pd.Series
    label: pd.Series
    before: pd.DataFrame
    after: pd.DataFrame
    notes: tuple[str, ...]


def plot_vectors(
    name: str,
    cohorts: Sequence[str],
    before: Sequence[str | os.PathLike[str]],
    after: Sequence[str | os.PathLike[str]],
    patients: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
) -> None:
    """Write all patients, before and after smoothing, as `<output>.pdf` and `<output>.png`.

    Args:
        name: Of the smoothing.
        cohorts: Names; the first of them has a patient whom several list.
        before: Vectors of each cohort before smoothing.
        after: Vectors of each cohort after it.
        patients: PATIENTS table of each cohort.
        output: Path without suffix.

    Raises:
        PathomixError: Vectors cannot be read, were made in different ways, or are of other patients than the tables.
    """
    read = read_patients(cohorts, before, after, patients)
    components = {when: principal_components(getattr(read, when).to_numpy()) for when in WHEN}
    figure = vectors_figure(name, read, components)
    save(figure, Path(output), f"Patients: {name}", describe_vectors(name, read, components))


def read_patients(
    cohorts: Sequence[str],
    before: Sequence[str | os.PathLike[str]],
    after: Sequence[str | os.PathLike[str]],
    patients: Sequence[str | os.PathLike[str]],
) -> Patients:
    """Read the vectors of all cohorts; see `plot_vectors`."""
    frames: dict[str, list[Any]] = {"cohort": [], "label": [], "before": [], "after": []}
    seen: set[str] = set()
    notes = []
    protocols: dict[str, Mapping[str, Any]] = {}
    for cohort, *paths in zip(cohorts, before, after, patients, strict=True):
        raw, smoothed = read_vectors(paths[0]), read_vectors(paths[1])
        for when, vectors in zip(WHEN, (raw, smoothed), strict=True):
            require_same_protocol(protocols.setdefault(when, vectors.protocol), vectors.protocol)
        labels = read_table(paths[2], PATIENTS).set_index("patient_id")["class_label"]
        ids = raw.vectors.index
        _require_same_patients(cohort, raw, smoothed, labels)
        kept = ids[~ids.isin(list(seen))]
        if len(kept) < len(ids):
            notes.append(f"{_patients(len(ids) - len(kept), cohort)} drawn under another cohort that lists them")
        if raw.missing:
            notes.append(f"{_patients(len(raw.missing), cohort)} without a vector ({_commonest(raw.missing)})")
        seen |= set(kept)
        frames["cohort"].append(pd.Series(cohort, kept, dtype=object))
        frames["label"].append(labels.reindex(kept).astype(object))
        frames["before"].append(raw.vectors.loc[kept])
        frames["after"].append(smoothed.vectors.loc[kept])
    if not cohorts:
        raise PathomixError("no cohort was given", remedy="pass cohorts with --cohorts")
    joined = {field: pd.concat(parts) for field, parts in frames.items()}
    return Patients(**joined, notes=tuple(notes))


def _require_same_patients(cohort: str, raw: PatientVectors, smoothed: PatientVectors, labels: pd.Series) -> None:
    differing = raw.vectors.index.symmetric_difference(smoothed.vectors.index)
    strangers = raw.vectors.index.difference(labels.index)
    if len(differing) or len(strangers):
        raise PathomixError(
            f"{cohort}: patients with vectors before and after smoothing, and those of the cohort, differ",
            offending=differing if len(differing) else strangers,
            remedy="run embed_expression and smooth_expression of this cohort again",
        )


def _patients(count: int, cohort: str) -> str:
    return f"{count} patient{'s' * (count > 1)} of {cohort}"


def _commonest(missing: Mapping[str, str]) -> str:
    """The commonest reason, and whether there are others."""
    counts = pd.Series(list(missing.values())).value_counts()
    return str(counts.index[0]) + (f", and {len(counts) - 1} other reasons" if len(counts) > 1 else "")


def principal_components(vectors: NDArray[np.floating[Any]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """First two principal components of centred, unscaled vectors.

    Args:
        vectors: [n, dim].

    Returns:
        Scores [n, 2], the largest loading of each component being positive, and shares of the variance [2]; scores of a
        component that is not there are 0. Without any variance shares are NaN.
    """
    values = np.asarray(vectors, np.float64)
    scores, shares = np.zeros((len(values), 2)), np.full(2, np.nan)
    if not len(values):
        return scores, shares
    centred = values - values.mean(axis=0)
    _, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    total = float((sizes**2).sum())
    if total <= 0:
        return scores, shares
    count = min(2, len(axes))
    loadings = axes[:count]
    largest = np.abs(loadings).argmax(axis=1)
    scores[:, :count] = centred @ (loadings * np.sign(loadings[np.arange(count), largest])[:, None]).T
    shares = np.zeros(2)
    shares[:count] = sizes[:count] ** 2 / total
    return scores, shares


_Components = Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]]


def describe_vectors(name: str, patients: Patients, components: _Components) -> str:
    """The figure in words."""
    counts = patients.cohort.value_counts(sort=False)
    who = ", ".join(f"{cohort} {count}" for cohort, count in counts.items()) or "none"
    parts = [f"Expression vectors of {len(patients.cohort)} patients ({who}), {name}, before and after smoothing."]
    widths = [f"{getattr(patients, when).shape[1]} dimensions {when}" for when in WHEN]
    parts.append(f"First two principal components of the vectors of all cohorts together ({', '.join(widths)}).")
    for when in WHEN:
        shares = components[when][1]
        if np.isnan(shares).any():
            parts.append(f"{when.capitalize()}: the vectors do not vary.")
        else:
            parts.append(f"{when.capitalize()}: {shares[0]:.0%} and {shares[1]:.0%} of the variance.")
    parts.append("Colour is the cohort, the marker the class label.")
    if _RARER in set(_classes(patients)):
        parts.append(f"Labels beyond the {len(_SYMBOLS) - 1} commonest share one marker.")
    parts += [f"{note}." for note in patients.notes]
    return " ".join(parts)


def _classes(patients: Patients) -> pd.Series:
    """Label of each patient as the legend has it: the commonest classes, the others in one, none at all."""
    label = patients.label.where(patients.label.notna())
    commonest = list(label.value_counts().index)
    own = commonest if len(commonest) <= len(_SYMBOLS) else commonest[: len(_SYMBOLS) - 1]
    return label.where(label.isin(own) | label.isna(), _RARER).where(label.notna(), _UNLABELLED)


def vectors_figure(name: str, patients: Patients, components: _Components) -> Figure:
    """Draw all patients before and after smoothing, coloured by cohort, with a marker for the class.

    Args:
        name: Words for the heading.
        patients: From `read_patients`.
        components: Per `WHEN` the result of `principal_components`.
    """
    classes = _classes(patients)
    known = sorted(set(classes) - {_RARER, _UNLABELLED})
    symbols = dict(zip(known, _SYMBOLS, strict=False))
    symbols |= {_RARER: _SYMBOLS[-1], _UNLABELLED: "o"}
    colours = {cohort: colour for cohort, (colour, _) in method_looks(list(dict.fromkeys(patients.cohort))).items()}
    with style():
        figure = Figure(figsize=(PAGE, 3.3), layout="constrained")
        figure.suptitle(name, x=0.01, ha="left", fontsize=8, fontweight="bold")
        for axes, when in zip(figure.subplots(1, 2), WHEN, strict=True):
            scores, shares = components[when]
            axes.set_title(f"{when.capitalize()} smoothing")
            for number, label in enumerate(("PC 1", "PC 2")):
                share = "" if np.isnan(shares).any() else f" ({shares[number]:.0%} of the variance)"
                (axes.set_ylabel if number else axes.set_xlabel)(label + share)
            for cohort, class_label, rows in _groups(patients.cohort, classes):
                look: dict[str, Any] = {"color": colours[cohort], "marker": symbols[class_label], "markersize": 2.8}
                axes.plot(*scores[rows].T, linestyle="none", markeredgewidth=0, alpha=0.7, **look)
        handles = [_entry("", MUTED, "Cohort"), *(_entry("o", colour, name) for name, colour in colours.items())]
        handles += [_entry("", MUTED, ""), _entry("", MUTED, "Class label")]
        handles += [_entry(symbols[label], MUTED, label) for label in symbols if label in set(classes)]
        figure.legend(handles=handles, loc="outside right center", handletextpad=0.2, labelspacing=0.35)
        return figure


def _groups(cohort: pd.Series, classes: pd.Series) -> list[tuple[str, str, NDArray[np.int64]]]:
    """Cohort, class and rows of each group, the largest first, so that it does not cover the others."""
    rows: dict[tuple[str, str], list[int]] = {}
    for place, key in enumerate(zip(cohort.astype(str), classes.astype(str), strict=True)):
        rows.setdefault(key, []).append(place)
    groups = [(*key, np.array(places)) for key, places in rows.items()]
    return sorted(groups, key=lambda group: (-len(group[2]), group[:2]))


def _entry(marker: str, colour: str, label: str) -> Line2D:
    return Line2D([], [], linestyle="none", marker=marker, color=colour, markeredgewidth=0, markersize=4, label=label)
