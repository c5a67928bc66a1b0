"""What `qc.json` says about a slide: areas, artefacts, focus, confidence, scale; and the flags people look for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from shapely.geometry import Polygon

from pathomix.core.errors import PathomixError
from pathomix.slides.find_tissue import FoundTissue
from pathomix.slides.focus import FOCUS_MPP, focus_measure, focus_positions
from pathomix.slides.reader import Slide, Thumbnail, resample

_FOCUS_PIXELS = 128

# Where a figure becomes a flag. Sharp scans have a sharpness of 0.2 to 0.7, a Gaussian blur of 1 µm leaves 0.1.
_MUCH_PEN, _MUCH_BLUR, _MUCH_FOREIGN = 0.005, 0.05, 0.02
_SOFT = 0.05
_UNCERTAIN = 0.6


def quality_report(
    slide: Slide, thumbnail: Thumbnail, found: FoundTissue, polygons: Sequence[Polygon], override: Mapping[str, Any]
) -> dict[str, Any]:
    """Figures for people and for filters.

    * `tissue_mm2`, `tissue_share`: area inside the outlines, a person's too; its share of the scanned area.
    * `shares`: of the scanned area by class: tissue, pen, blurred, foreign (dark without colour), background; sum 1.
    * `blurred_share_of_tissue`: of the tissue before anything was taken out.
    * `mask_confidence`: Dice of the mask, before artefacts are taken out, with a second masker that looks at another
      property (`mask_checked_by`); low where colour and darkness disagree about what tissue is.
    * `mask_separation`: distance of the mean chroma inside and outside the mask in pooled standard deviations; None
      where there is no outside.
    * `sharpness`: `pathomix.slides.focus.FocusMap.sharpness`; `focus_median`, `focus_lowest`: of five fields.
    * `mpp_stated`: everything that was said about the scale; `mpp_conflict`: file and slide table where they disagree.
    * `flags`: see `flags_of`.

    Args:
        slide: The slide, open.
        thumbnail: Its thumbnail.
        found: Tissue and artefacts on the thumbnail.
        polygons: Outlines in use, level-0 pixels.
        override: What the overrides table changed about this slide.
    """
    fields = [_focus(slide, thumbnail, x, y) for x, y in focus_positions(found.mask)]
    judged = [value for value in fields if value is not None]
    area = sum(polygon.area for polygon in polygons)
    pixels = found.mask.size * thumbnail.step[0] * thumbnail.step[1]
    whole = int(found.whole.sum())
    report = {
        "tissue_mm2": area * slide.scale.x * slide.scale.y / 1e6,
        "tissue_share": area / pixels,
        "shares": _class_shares(found),
        "pen_share": float(found.pen.mean()),
        "blurred_share_of_tissue": int(found.blurred.sum()) / whole if whole else 0.0,
        "artefact_network": dict(found.shares),
        "mask_confidence": found.agreement,
        "mask_checked_by": found.checked_by,
        "mask_separation": _separation(thumbnail, found),
        "focus_judged": found.focus is not None,
        "sharpness": found.focus.sharpness if found.focus else None,
        "focus_median": float(np.median(judged)) if judged else None,
        "focus_lowest": float(np.min(judged)) if judged else None,
        "unread_parts": (found.focus.unread if found.focus else 0) + len(fields) - len(judged),
        "mpp_x": slide.scale.x,
        "mpp_y": slide.scale.y,
        "mpp_source": slide.scale.source,
        "mpp_stated": {source: list(numbers) for source, numbers in slide.stated_scales.items()},
        "mpp_conflict": list(slide.scale_conflict) if slide.scale_conflict else None,
        "override": dict(override),
        "vendor": slide.properties.get("openslide.vendor"),
        "icc_present": "openslide.icc-size" in slide.properties,
        "bounds": list(slide.bounds),
        "level_dimensions": [list(size) for size in slide.level_dimensions],
        "level_downsamples": list(slide.level_downsamples),
        "thumbnail_mpp": thumbnail.mpp,
    }
    return report


def flags_of(report: Mapping[str, Any]) -> list[str]:
    """Words for what a person should look at; see the constants of this module for where each begins."""
    foreign, sharpness = report["shares"]["foreign"], report["sharpness"]
    checks = (
        ("pen", report["pen_share"] > _MUCH_PEN),
        ("partly out of focus", report["blurred_share_of_tissue"] > _MUCH_BLUR),
        ("soft", sharpness is not None and sharpness < _SOFT),
        ("foreign matter", foreign > _MUCH_FOREIGN),
        ("mask uncertain", report["mask_confidence"] < _UNCERTAIN),
        ("unreadable parts", report["unread_parts"] > 0),
        ("scale disputed", report["mpp_conflict"] is not None and report["mpp_source"] != "override"),
        ("scale by objective", report["mpp_source"] == "objective"),
        ("override", bool(report["override"])),
        ("edited by hand", report.get("outlines_edited", False)),
    )
    return [name for name, holds in checks if holds]


def _class_shares(found: FoundTissue) -> dict[str, float]:
    left = np.ones(found.mask.shape, dtype=bool)
    shares = {}
    for name, mask in (
        ("tissue", found.mask),
        ("pen", found.pen),
        ("blurred", found.blurred),
        ("foreign", found.foreign),
    ):
        shares[name] = float((mask & left).mean())
        left &= ~mask
    return shares | {"background": float(left.mean())}


def _separation(thumbnail: Thumbnail, found: FoundTissue) -> float | None:
    red, green, blue = cv2.split(thumbnail.rgb)
    chroma = cv2.subtract(cv2.max(cv2.max(red, green), blue), cv2.min(cv2.min(red, green), blue))
    inside, outside = chroma[found.whole & ~found.pen], chroma[~found.whole & ~found.pen]
    if not inside.size or not outside.size:
        return None
    spread = np.sqrt((inside.var() + outside.var()) / 2)
    return float((inside.mean() - outside.mean()) / spread) if spread else None


def _focus(slide: Slide, thumbnail: Thumbnail, x: int, y: int) -> float | None:
    """Focus of a square field at about 1 µm per pixel around a mask pixel; None where it cannot be read."""
    wanted = max(1.0, FOCUS_MPP / slide.scale.mean)
    level = max((i for i, d in enumerate(slide.level_downsamples) if d <= wanted * 1.01), default=0)
    downsample = slide.level_downsamples[level]
    side = max(8, round(_FOCUS_PIXELS * wanted / downsample))
    centre = np.array(thumbnail.origin) + (np.array([x, y]) + 0.5) * thumbnail.step
    corner = np.rint(centre - side * downsample / 2).astype(int)
    try:
        pixels = slide.read(int(corner[0]), int(corner[1]), level, side, side)
    except PathomixError:
        return None
    return focus_measure(resample(pixels, (_FOCUS_PIXELS, _FOCUS_PIXELS)))
