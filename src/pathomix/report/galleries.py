"""Figures that belong to no study: splits, slides, smoothing, heatmaps, each kind a section of the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pathomix.core.errors import PathomixError


@dataclass(frozen=True)
class Kind:
    """What a section says before its figures."""

    short: str
    title: str
    text: str


KINDS: Mapping[str, Kind] = {
    "splits": Kind(
        "Splits",
        "Splits, audited",
        "What the parts of every split hold: events, classes, follow-up, tissue source sites. What could not be kept "
        "is named; the audit itself, with the solver's bound where one was used, lies beside each split table.",
    ),
    "slides": Kind(
        "Slides",
        "Slides at a glance",
        "The first page of each cohort's contact sheet: quarantined and flagged slides come first. Tissue is outlined "
        "in green, what was taken out of it (ink, out of focus) in orange. Further pages lie beside it.",
    ),
    "smoothing": Kind(
        "Smoothing",
        "Smoothing of embedded expression",
        "Mixtures of single cells of held-out donors have a known composition. Before: what a linear readout finds in "
        "the vectors of the expression encoder; after: the smoother trained on mixtures. The linearity gap is how far "
        "the vector of a mixture lies from the mixture of the vectors, in units of their variance.",
    ),
    "attribution": Kind(
        "Attribution",
        "Pathways that move the risk",
        "Attribution of the explained models by pathway, with its stability over seeds and the same of a model with "
        "random weights: an explanation that this control reproduces is watermarked, and says nothing of the model.",
    ),
}


def checked(galleries: Mapping[str, Sequence[Path]]) -> dict[str, list[Path]]:
    """The galleries that hold something, in the order of the page.

    Raises:
        PathomixError: An unknown kind.
    """
    unknown = sorted(set(galleries) - set(KINDS))
    if unknown:
        raise PathomixError("unknown kinds of figures", offending=unknown, remedy=f"use {', '.join(KINDS)}")
    return {kind: list(galleries[kind]) for kind in KINDS if galleries.get(kind)}
