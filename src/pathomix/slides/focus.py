"""Which tissue is out of focus: fine against coarse contrast at about 1 µm per pixel, measured by the slide itself.

Defocus takes the fine contrast and leaves the coarse. Tissue of little texture (mucin, fat, stroma) has little of both,
so the ratio of the two bands parts it from defocus where sharpness alone cannot. What counts as sharp is the upper
quartile of the same slide: scanners, stains and compression differ more than tissues do.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pathomix.slides.blocks import blocks
from pathomix.slides.reader import Slide, Thumbnail
from pathomix.slides.tissue import Mask, disk, drop_small

FOCUS_MPP = 1.0
_COARSEST_MPP = 1.5  # above, the fine band is not in the file
_FINE_UM = 1.0
_COARSE_UM = 8.0
_WINDOW_UM = 40.0
_EDGE_UM = 12.0
_REFERENCE = 0.75
_FLAT = 4.0  # squared grey levels: below, there is no structure whose focus could be judged
_FIELDS = 5

Energy = NDArray[np.float32]


@dataclass(frozen=True)
class FocusMap:
    """Contrast energies on the thumbnail's grid, means over a window of 40 µm of judged tissue.

    Attributes:
        fine: [h, w] mean square of what a Gaussian of 1 µm takes away.
        coarse: [h, w] mean square of the contrast between about 3 and 8 µm.
        judged: bool [h, w], tissue away from its edges that could be read.
        unread: Blocks of the file that could not be read.
    """

    fine: Energy
    coarse: Energy
    judged: Mask
    unread: int

    @property
    def ratio(self) -> Energy:
        """[h, w] fine over coarse contrast; 1 grey level squared keeps flat areas finite."""
        return np.asarray(self.fine / (self.coarse + 1), dtype=np.float32)

    @property
    def sharpness(self) -> float | None:
        """What this slide's sharp tissue has: the upper quartile of the ratio; None where nothing was judged.

        About 0.2 to 0.7 on sharp scans, 0.1 behind a Gaussian blur of 1 µm and 0.02 behind one of 2 µm.
        """
        return float(np.quantile(self.ratio[self.judged], _REFERENCE)) if self.judged.any() else None


def focus_map(slide: Slide, thumbnail: Thumbnail, tissue: Mask, stained: Mask) -> FocusMap | None:
    """Judge the tissue of a slide; None where its pixels are too coarse for that (above 1.5 µm).

    Args:
        slide: The slide; read at about 1 µm per pixel where there is tissue, block by block.
        thumbnail: Its thumbnail.
        tissue: bool [h, w] on the thumbnail, gaps closed.
        stained: bool [h, w], the part of it to judge: neither gaps nor ink, which have edges and no texture.
    """
    if slide.scale.mean > _COARSEST_MPP:
        return None
    mpp = thumbnail.mpp
    factor = 2 ** max(0, round(np.log2(mpp / FOCUS_MPP)))
    inner = cv2.erode(tissue.astype(np.uint8), disk(_EDGE_UM, mpp), borderType=cv2.BORDER_REPLICATE) > 0
    # specimens thinner than both edges are judged as they are
    judged = np.asarray((inner if (inner & stained).any() else tissue) & stained)
    fine, coarse = np.zeros(tissue.shape, np.float32), np.zeros(tissue.shape, np.float32)
    margin, unread = max(1, round(2 * _COARSE_UM / mpp)), 0
    for block in blocks(slide, thumbnail, factor, margin, judged):
        at = block.rows, block.columns
        if block.rgb is None:
            judged[at], unread = False, unread + 1
            continue
        whole = contrast_energies(block.rgb, factor, mpp / factor)
        inside = slice(margin, -margin), slice(margin, -margin)
        fine[at], coarse[at] = whole[0][inside], whole[1][inside]
    return FocusMap(_windowed(fine, judged, mpp), _windowed(coarse, judged, mpp), judged, unread)


def contrast_energies(rgb: NDArray[np.uint8], factor: int, mpp: float) -> tuple[Energy, Energy]:
    """Mean squares of the fine and the coarse band over cells of factor x factor pixels.

    Args:
        rgb: uint8 [h, w, 3]; both sides multiples of `factor`.
        factor: Power of two.
        mpp: µm per pixel.

    Returns:
        Two float32 [h / factor, w / factor].
    """
    size = rgb.shape[1] // factor, rgb.shape[0] // factor
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    lost = cv2.absdiff(grey, cv2.GaussianBlur(grey, (5, 5), _FINE_UM / mpp))
    fine = cv2.multiply(lost, lost, dtype=cv2.CV_32F)
    cell = min(factor, 4)
    small = cv2.resize(grey, (size[0] * factor // cell, size[1] * factor // cell), interpolation=cv2.INTER_AREA)
    small = small.astype(np.float32)
    band = small - cv2.GaussianBlur(small, (0, 0), _COARSE_UM / (mpp * cell))
    return (
        np.asarray(cv2.resize(fine, size, interpolation=cv2.INTER_AREA), dtype=np.float32),
        np.asarray(cv2.resize(band * band, size, interpolation=cv2.INTER_AREA), dtype=np.float32),
    )


def _windowed(energy: Energy, judged: Mask, mpp: float) -> Energy:
    side = 2 * round(_WINDOW_UM / mpp / 2) + 1
    weight = judged.astype(np.float32)
    total = cv2.boxFilter(energy * weight, -1, (side, side), normalize=False)
    number = cv2.boxFilter(weight, -1, (side, side), normalize=False)
    return np.asarray(total / np.maximum(number, 1), dtype=np.float32)


def blurred_mask(focus: FocusMap, tissue: Mask, mpp: float, *, blur_share: float, min_blur_mm2: float) -> Mask:
    """Tissue out of focus: fine contrast low both for itself and for the coarse contrast it has.

    Args:
        focus: Map of the slide.
        tissue: bool [h, w].
        mpp: µm per thumbnail pixel.
        blur_share: Share of the sharp tissue's values below which both have to lie.
        min_blur_mm2: Smaller regions are kept as tissue.
    """
    if focus.sharpness is None:
        return np.zeros(tissue.shape, dtype=bool)
    level = np.quantile(focus.fine[focus.judged], _REFERENCE)
    low = focus.judged & (focus.ratio < blur_share * focus.sharpness) & (focus.fine < blur_share * level)
    low &= focus.coarse > _FLAT
    # A window of which a share of `blur_share` is sharp looks sharp: the region found ends that much before its edge.
    grown = cv2.dilate(low.astype(np.uint8), disk((0.5 - blur_share) * _WINDOW_UM, mpp)) > 0
    # What was not judged, the edge of the tissue, goes with the judged tissue beside it.
    edge = cv2.dilate(low.astype(np.uint8), disk(2 * _EDGE_UM, mpp)) > 0
    return drop_small(tissue & (grown | (edge & ~focus.judged)), mpp, min_blur_mm2)


def focus_measure(rgb: NDArray[np.uint8]) -> float:
    """Variance of the Laplacian over the variance of the luminance: near 0 when blurred, independent of stain depth."""
    grey = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), dtype=np.float32)
    variance = float(grey.var())
    if variance < 1.0:  # nothing to judge: less contrast than the rounding of 8 bits
        return 0.0
    return float(cv2.Laplacian(grey, cv2.CV_32F).var()) / variance


def focus_positions(mask: Mask) -> list[tuple[int, int]]:
    """A few (x, y) mask pixels spread evenly over the tissue."""
    rows, columns = np.nonzero(mask)
    picks = np.linspace(0, len(rows) - 1, min(_FIELDS, len(rows)) + 2).astype(int)[1:-1]
    return [(int(columns[i]), int(rows[i])) for i in picks]
