"""Where the tissue is: maskers on a small RGB image of stated scale, ink, and cleaning by physical size.

Recommended default of spec slides_and_encoders 2.1: colour on the whole thumbnail (never per tile: thresholds would
leave seams), pen rejected by hue, objects and holes judged in mm², no weights, deterministic. All arithmetic is on
8-bit images: a thumbnail of a large slide takes tens of milliseconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from pathomix.core.errors import PathomixError

Mask = NDArray[np.bool_]
Image = NDArray[np.uint8]
Masker = Callable[[Image, float], Mask]

MASKERS: dict[str, Masker] = {}

_SMOOTHING_UM = 6.0
_PEN_MARGIN_UM = 10.0
_PEN_MM2 = 0.001  # a stroke is larger; a clump of pigment or a fold is not
# Chroma (largest minus smallest of R, G, B) that parts tissue from glass. Otsu looks for the valley; the limits hold it
# where a slide is all tissue (it would part dark from pale tissue) or all glass (it would part noise from noise).
_CHROMA_LIMITS = (9.0, 16.0)
_FAINT_CHROMA = 4.0
# Luminance of white-balanced tissue edges; limits for the same reason.
_LUMINANCE_LIMITS = (205.0, 240.0)
_GREY_LUMINANCE = 190


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
def colour_mask(rgb: Image, mpp: float) -> Mask:
    """Stained tissue by chroma: indifferent to blur and shadow; faint tissue such as fat where it hangs on stained one.

    Faint is what has clearly more chroma than the palest tenth of the image, the glass. Of fat these are the membranes;
    the cells between them are holes, which `clean` fills by their size. Ink has no part in the threshold; it is not
    taken out here: `pen_mask` says where it is.
    """
    pen = pen_mask(rgb, mpp)
    balanced = white_balanced(rgb)
    chroma = _chroma(smoothed(balanced, _SMOOTHING_UM, mpp))
    judged = chroma[~pen]
    if judged.size == 0 or np.ptp(judged) == 0:
        return np.zeros(pen.shape, dtype=bool)
    threshold = float(np.clip(otsu(judged), *_CHROMA_LIMITS))
    # smoothing tells whether there is tissue but carries its colour over the edge; the pixel itself tells where it ends
    own = _chroma(balanced)
    strong = (chroma > threshold) & (own > threshold / 2)
    faint = min(max(float(np.quantile(judged, 0.1)) + _FAINT_CHROMA, threshold / 2), threshold)
    return np.asarray(strong | _reached(strong & ~pen, (chroma > faint) & (own > faint) & ~pen))


@masker("luminance")
def luminance_mask(rgb: Image, mpp: float) -> Mask:
    """Darker than the valley of the white-balanced luminance: a second opinion that does not look at colour."""
    grey = smoothed(_grey(white_balanced(rgb)), _SMOOTHING_UM, mpp)
    if np.ptp(grey) == 0:
        return np.zeros(grey.shape, dtype=bool)
    return np.asarray(grey < np.clip(otsu(grey), *_LUMINANCE_LIMITS))


@masker("tiatoolbox_otsu")
def tiatoolbox_otsu(rgb: Image, mpp: float) -> Mask:
    """Grey-level Otsu of tiatoolbox: darker than the threshold is tissue, pen and shadow included."""
    from tiatoolbox.tools.tissuemask import OtsuTissueMasker

    return np.asarray(OtsuTissueMasker().fit_transform(rgb[None])[0], dtype=bool)


@masker("tiatoolbox_morphological")
def tiatoolbox_morphological(rgb: Image, mpp: float) -> Mask:
    """Otsu of tiatoolbox followed by its removal of specks and dilation at the stated scale."""
    from tiatoolbox.tools.tissuemask import MorphologicalMasker

    return np.asarray(MorphologicalMasker(mpp=mpp).fit_transform(rgb[None])[0], dtype=bool)


def _reached(strong: Mask, weak: Mask) -> Mask:
    """The 8-connected objects of `weak` that hold a pixel of `strong` (hysteresis)."""
    count, labels = cv2.connectedComponents(weak.astype(np.uint8), connectivity=8)
    reached = np.zeros(count, dtype=bool)
    reached[np.unique(labels[strong & weak])] = True
    reached[0] = False
    return np.asarray(reached[labels])


def white_balanced(rgb: Image) -> Image:
    """Divide by the colour of the glass (brightest percentile), where that is a nearly neutral bright colour."""
    counts = np.stack([np.bincount(rgb[..., channel].ravel(), minlength=256) for channel in range(3)])
    total = rgb.shape[0] * rgb.shape[1]
    white = (np.cumsum(counts, axis=1) >= 0.99 * total).argmax(axis=1)
    if white.min() <= 200 or np.ptp(white) >= 25:
        return rgb
    table = np.minimum(np.rint(np.arange(256)[:, None] * (255 / white)), 255).astype(np.uint8)
    return np.asarray(cv2.LUT(rgb, table[None]), dtype=np.uint8)


def pen_mask(rgb: Image, mpp: float) -> Mask:
    """Marker ink: green to blue hues, saturated red, and black; with a margin for its soft edge.

    Haematoxylin and eosin lie between hue 245° (blue-violet) and 360°; ink outside that range is told by hue alone, red
    ink by a saturation that eosin does not reach at this scale, black ink by darkness without colour.
    """
    smooth = smoothed(rgb, _SMOOTHING_UM, mpp)
    red, green, blue = cv2.split(smooth)
    high, low = cv2.max(cv2.max(red, green), blue), cv2.min(cv2.min(red, green), blue)
    chroma = cv2.subtract(high, low)
    hue = cv2.cvtColor(smooth, cv2.COLOR_RGB2HSV_FULL)[..., 0]  # 256 steps to the circle
    cold = (hue > 65 / 360 * 256) & (hue < 238 / 360 * 256) & (chroma > 40)
    scarlet = ((hue > 350 / 360 * 256) | (hue < 20 / 360 * 256)) & (chroma > 130) & (low < 60)
    black = (high < 75) & (chroma < 25)
    ink = np.asarray(cold | scarlet | black)
    ink &= ~_smaller(ink, _PEN_MM2 / (mpp / 1000) ** 2, connectivity=8, spare_border=True)
    if not ink.any():
        return ink
    return np.asarray(cv2.dilate(ink.astype(np.uint8), disk(_PEN_MARGIN_UM, mpp)) > 0)


def foreign_mask(rgb: Image, mpp: float) -> Mask:
    """Dark without colour: dust, the edge of the cover slip, rims of air bubbles, folds in the mount."""
    balanced = smoothed(white_balanced(rgb), _SMOOTHING_UM, mpp)
    return np.asarray((_grey(balanced) < _GREY_LUMINANCE) & (_chroma(balanced) < _CHROMA_LIMITS[0]))


def clean(mask: Mask, mpp: float, *, close_um: float, min_area_mm2: float, max_hole_mm2: float) -> Mask:
    """Close gaps, fill small holes, then drop small objects; all sizes physical.

    Args:
        mask: bool [h, w].
        mpp: µm per mask pixel.
        close_um: Radius of the closing.
        min_area_mm2: Objects below this area go.
        max_hole_mm2: Holes below this area are filled.
    """
    margin = math.ceil(close_um / mpp) + 1
    padded = cv2.copyMakeBorder(mask.astype(np.uint8), margin, margin, margin, margin, cv2.BORDER_REPLICATE)
    closed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, disk(close_um, mpp)) > 0
    result = closed[margin:-margin, margin:-margin]
    pixel_mm2 = (mpp / 1000) ** 2
    # holes are 8-connected, objects 4-connected: the two must differ, or a diagonal belongs to both
    result = result | _smaller(~result, max_hole_mm2 / pixel_mm2, connectivity=8, spare_border=True)
    return drop_small(result, mpp, min_area_mm2)


def drop_small(mask: Mask, mpp: float, min_area_mm2: float) -> Mask:
    """Without the 4-connected objects below an area."""
    return np.asarray(mask & ~_smaller(mask, min_area_mm2 / (mpp / 1000) ** 2, connectivity=4, spare_border=False))


def _smaller(mask: Mask, pixels: float, *, connectivity: int, spare_border: bool) -> Mask:
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=connectivity)
    if count < 2:
        return np.zeros(mask.shape, dtype=bool)
    small = stats[:, cv2.CC_STAT_AREA] < pixels
    small[0] = False
    if spare_border:
        for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
            small[edge] = False
    return np.asarray(small[labels])


def otsu(values: NDArray[np.uint8]) -> float:
    """Otsu's threshold of 8-bit values: greater is the upper class."""
    flat = np.ascontiguousarray(values).reshape(1, -1)
    return float(cv2.threshold(flat, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)[0])


def smoothed(image: Image, radius_um: float, mpp: float) -> Image:
    """Gaussian mean of stated physical standard deviation."""
    sigma = radius_um / mpp
    return image if sigma < 0.3 else np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), dtype=np.uint8)


def disk(radius_um: float, mpp: float) -> Image:
    """Structuring element of stated physical radius."""
    radius = max(0, round(radius_um / mpp))
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)), dtype=np.uint8)


def _grey(rgb: Image) -> Image:
    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), dtype=np.uint8)


def _chroma(rgb: Image) -> Image:
    red, green, blue = cv2.split(rgb)
    return np.asarray(cv2.subtract(cv2.max(cv2.max(red, green), blue), cv2.min(cv2.min(red, green), blue)))
