"""The tissue of one slide: a masker's answer, cleaned, without ink and without what is out of focus."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pathomix.core.errors import PathomixError
from pathomix.core.files import file_digest
from pathomix.slides.focus import FocusMap, blurred_mask, focus_map
from pathomix.slides.reader import Slide, Thumbnail
from pathomix.slides.tissue import Mask, clean, drop_small, find_masker, foreign_mask, pen_mask
from pathomix.slides.tissue_parameters import TISSUE_NETWORKS, TissueParameters

if TYPE_CHECKING:
    from pathomix.slides.tissue_networks import TissueNetwork


class Networks:
    """The networks of a job: each is loaded once, when a slide first asks for it.

    Args:
        settings: Where their weights are.
    """

    def __init__(self, settings: TissueParameters) -> None:
        self._settings = settings
        self._loaded: dict[str, TissueNetwork] = {}

    def find(self, name: str) -> TissueNetwork:
        """A network with its weights.

        Raises:
            PathomixError: No weights are configured, or they do not fit.
        """
        if name not in self._loaded:
            self._settings.check_weights(name)
            from pathomix.slides.tissue_networks import TissueNetwork  # torch, only where it is needed

            self._loaded[name] = TissueNetwork(name, Path(self._settings.masker_weights[name]))
        return self._loaded[name]

    def digests(self, masker: str) -> dict[str, str]:
        """SHA-256 of the weights that a slide with this masker depends on.

        Raises:
            PathomixError: No weights are configured, or the file is not there.
        """
        names = self._settings.networks(masker)
        for name in names:
            self._settings.check_weights(name)
        return {name: self._digest[name] for name in names}

    @cached_property
    def _digest(self) -> dict[str, str]:
        found = {}
        for name, weights in self._settings.masker_weights.items():
            if not Path(weights).is_file():
                remedy = f"correct slides.tissue.masker_weights.{name}"
                raise PathomixError(f"{weights}: no such weights file", remedy=remedy)
            found[name] = file_digest(weights)
        return found


@dataclass(frozen=True)
class FoundTissue:
    """What was found on the thumbnail of a slide; all masks are bool [h, w].

    Attributes:
        mask: The tissue, artefacts taken out as configured.
        whole: The tissue with its artefacts, cleaned.
        agreement: Dice of `whole` with the second masker's answer, cleaned alike.
        checked_by: The second masker.
        pen: Ink.
        blurred: Tissue out of focus.
        foreign: Dark matter without colour that is neither tissue nor ink.
        focus: Contrast map of the tissue; None where focus was not to be judged or could not be.
        shares: Mean probability over the tissue of each class of the artefact network, where one was used.
    """

    mask: Mask
    whole: Mask
    agreement: float
    checked_by: str
    pen: Mask
    blurred: Mask
    foreign: Mask
    focus: FocusMap | None
    shares: Mapping[str, float]


def find_tissue(
    slide: Slide, thumbnail: Thumbnail, settings: TissueParameters, masker: str, networks: Networks
) -> FoundTissue:
    """Find the tissue of a slide.

    Args:
        slide: The slide.
        thumbnail: Its thumbnail at `settings.thumbnail_mpp`.
        settings: Parameters.
        masker: Masker of this slide.
        networks: Networks of the job.

    Raises:
        PathomixError: The masker is unknown or lacks its weights, or the pixels cannot be read.
    """
    mpp = thumbnail.mpp
    if masker in TISSUE_NETWORKS:
        stained = np.asarray(networks.find(masker).class_shares(slide, thumbnail)["tissue"] > 0.5)
    else:
        stained = find_masker(masker)(thumbnail.rgb, mpp)
    ink = pen_mask(thumbnail.rgb, mpp)
    whole = _cleaned(stained & ~ink if settings.exclude_pen else stained, mpp, settings)
    second = "luminance" if masker != "luminance" else "colour"
    other = _cleaned(find_masker(second)(thumbnail.rgb, mpp) & ~ink, mpp, settings)
    pen, blurred, foreign = ink, np.zeros_like(whole), foreign_mask(thumbnail.rgb, mpp) & ~whole & ~ink
    shares: dict[str, float] = {}
    if settings.artefact_model is not None and whole.any():
        classes = networks.find(settings.artefact_model).class_shares(slide, thumbnail)
        shares = {name: float(layer[whole].mean()) for name, layer in classes.items()}
        pen, blurred = pen | (classes["pen"] > 0.5), whole & (classes["blurred"] > 0.5)
    focus = focus_map(slide, thumbnail, whole, stained & ~ink) if settings.exclude_blur and whole.any() else None
    if focus is not None:
        limits = {"blur_share": settings.blur_share, "min_blur_mm2": settings.min_blur_mm2}
        blurred = blurred | blurred_mask(focus, whole & ~ink, mpp, **limits)
    taken = pen if settings.exclude_pen else np.zeros_like(pen)
    taken = taken | blurred if settings.exclude_blur else taken
    mask = drop_small(whole & ~taken, mpp, settings.min_area_mm2)
    return FoundTissue(mask, whole, dice(whole & ~ink, other), second, pen, blurred, foreign, focus, shares)


def _cleaned(mask: Mask, mpp: float, settings: TissueParameters) -> Mask:
    return clean(
        mask,
        mpp,
        close_um=settings.close_um,
        min_area_mm2=settings.min_area_mm2,
        max_hole_mm2=settings.max_hole_mm2,
    )


def dice(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Twice the common area over the sum of both areas; 1 where both are empty."""
    total = int(first.sum()) + int(second.sum())
    return 2 * int((first & second).sum()) / total if total else 1.0
