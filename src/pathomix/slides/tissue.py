"""Where the tissue is: maskers on a small RGB image of stated scale, and cleaning by physical size.

Recommended default of spec slides_and_encoders 2.1: colour on the whole thumbnail (never per tile: thresholds would
leave seams), pen rejected by hue, objects and holes judged in mm², no weights, deterministic.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu

from pathomix.core.errors import PathomixError

Mask = NDArray[np.bool_]
Masker = Callable[[NDArray[np.uint8], float], Mask]

MASKERS: dict[str, Masker] = {}

_SMOOTHING_UM = 6.0
_PEN_MARGIN_UM = 10.0
# Chroma (largest minus smallest of R, G, B) that parts tissue from glass. Otsu looks for the valley; the limits hold it
# where a slide is all tissue (it would part dark from pale tissue) or all glass (it would part noise from noise).
_CHROMA_LIMITS = (9.0, 16.0)
_FOCUS_FIELDS = 5


def masker(name: str) -> Callable[[Masker], Masker]:
    """Register a function (RGB uint8 [h, w, 3], µm per pixel) -> bool [h, w] under a name."""

    def register(function: Masker) -> Masker:
        MASKERS[name] = function
        return function

    return register


def find_masker(name: str) -> Masker:
    """Masker by name.

    Raises:
        PathomixError: Unknown name.
    """
    if name not in MASKERS:
        raise PathomixError(f"no tissue masker {name!r}", remedy=f"slides.tissue.masker is one of {sorted(MASKERS)}")
    return MASKERS[name]


@masker("colour")
def colour_mask(rgb: NDArray[np.uint8], mpp: float) -> Mask:
    """Stained tissue by chroma: indifferent to blur and shadow, pen taken out by its hue."""
    pen = pen_mask(rgb, mpp)
    balanced = white_balanced(rgb)
    smooth = _smoothed(balanced, mpp)
    chroma = smooth.max(axis=2) - smooth.min(axis=2)
    judged = chroma[~pen]
    if judged.size == 0 or np.ptp(judged) == 0:
        return np.zeros(pen.shape, dtype=bool)
    threshold = float(np.clip(threshold_otsu(judged), *_CHROMA_LIMITS))  # type: ignore[no-untyped-call]
    # smoothing tells whether there is tissue but carries its colour over the edge; the pixel itself tells where it ends
    stained = np.ptp(balanced, axis=2) > threshold / 2
    return np.asarray((chroma > threshold) & stained & ~pen)


@masker("tiatoolbox_otsu")
def tiatoolbox_otsu(rgb: NDArray[np.uint8], mpp: float) -> Mask:
    """Grey-level Otsu of tiatoolbox: darker than the threshold is tissue, pen and shadow included."""
    from tiatoolbox.tools.tissuemask import OtsuTissueMasker

    return np.asarray(OtsuTissueMasker().fit_transform(rgb[None])[0], dtype=bool)


@masker("tiatoolbox_morphological")
def tiatoolbox_morphological(rgb: NDArray[np.uint8], mpp: float) -> Mask:
    """Otsu of tiatoolbox followed by its removal of specks and dilation at the stated scale."""
    from tiatoolbox.tools.tissuemask import MorphologicalMasker

    return np.asarray(MorphologicalMasker(mpp=mpp).fit_transform(rgb[None])[0], dtype=bool)


def white_balanced(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Divide by the colour of the glass (brightest percentile), where that is a nearly neutral bright colour."""
    white = np.percentile(rgb.reshape(-1, 3), 99, axis=0)
    neutral = white.min() > 200 and np.ptp(white) < 25
    gain = 255 / white if neutral else np.ones(3)
    return np.minimum(rgb * gain.astype(np.float32), 255)


def pen_mask(rgb: NDArray[np.uint8], mpp: float) -> Mask:
    """Marker ink: green to blue hues, saturated red, and black; with a margin for its soft edge.

    Haematoxylin and eosin lie between hue 245° (blue-violet) and 360°; ink outside that range is told by hue alone, red
    ink by a saturation that eosin does not reach at this scale, black ink by darkness without colour.
    """
    smooth = _smoothed(rgb.astype(np.float32), mpp)
    high, low = smooth.max(axis=2), smooth.min(axis=2)
    chroma = high - low
    hue = _hue(smooth, high, chroma)
    cold = (hue > 65) & (hue < 238) & (chroma > 40)
    red = ((hue > 350) | (hue < 20)) & (chroma > 130) & (low < 60)
    black = (high < 75) & (chroma < 25)
    ink = cold | red | black
    if not ink.any():
        return np.zeros(ink.shape, dtype=bool)
    return np.asarray(cv2.dilate(ink.astype(np.uint8), _disk(_PEN_MARGIN_UM, mpp)) > 0)


def _hue(rgb: NDArray[np.float32], high: NDArray[np.float32], chroma: NDArray[np.float32]) -> NDArray[np.float32]:
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    safe = np.maximum(chroma, 1e-6)
    sixths = np.where(
        high == red,
        (green - blue) / safe % 6,
        np.where(high == green, (blue - red) / safe + 2, (red - green) / safe + 4),
    )
    return np.asarray(60 * sixths, dtype=np.float32)


def clean(mask: Mask, mpp: float, *, close_um: float, min_area_mm2: float, max_hole_mm2: float) -> Mask:
    """Close gaps, fill small holes, then drop small objects; all sizes physical.

    Args:
        mask: bool [h, w].
        mpp: µm per mask pixel.
        close_um: Radius of the closing.
        min_area_mm2: Objects below this area go.
        max_hole_mm2: Holes below this area are filled.
    """
    padded = np.pad(mask, math.ceil(close_um / mpp) + 1, mode="edge")
    closed = cv2.morphologyEx(padded.astype(np.uint8), cv2.MORPH_CLOSE, _disk(close_um, mpp)) > 0
    margin = math.ceil(close_um / mpp) + 1
    result = closed[margin:-margin, margin:-margin]
    pixel_mm2 = (mpp / 1000) ** 2
    # holes are 8-connected, objects 4-connected: the two must differ, or a diagonal belongs to both
    result = result | _smaller(~result, max_hole_mm2 / pixel_mm2, connectivity=2, spare_border=True)
    return np.asarray(result & ~_smaller(result, min_area_mm2 / pixel_mm2, connectivity=1, spare_border=False))


def _smaller(mask: Mask, pixels: float, *, connectivity: int, spare_border: bool) -> Mask:
    labels, count = ndimage.label(mask, structure=ndimage.generate_binary_structure(2, connectivity))
    if not count:
        return np.zeros(mask.shape, dtype=bool)
    small = np.bincount(labels.ravel(), minlength=count + 1) < pixels
    small[0] = False
    if spare_border:
        for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
            small[edge] = False
    return np.asarray(small[labels])


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
    picks = np.linspace(0, len(rows) - 1, min(_FOCUS_FIELDS, len(rows)) + 2).astype(int)[1:-1]
    return [(int(columns[i]), int(rows[i])) for i in picks]


def _smoothed(image: NDArray[np.float32], mpp: float) -> NDArray[np.float32]:
    sigma = _SMOOTHING_UM / mpp
    return image if sigma < 0.3 else np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), dtype=np.float32)


def _disk(radius_um: float, mpp: float) -> NDArray[np.uint8]:
    radius = max(0, round(radius_um / mpp))
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)), dtype=np.uint8)
