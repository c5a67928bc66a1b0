"""Real tissue keeps its place: a sharp scan and two regions lose next to nothing to the search for artefacts."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from pathomix.slides.find_tissue import FoundTissue, Networks, find_tissue
from pathomix.slides.quality import flags_of, quality_report
from pathomix.slides.reader import Slide, Thumbnail, open_slide
from pathomix.slides.tissue_parameters import TissueParameters


def search(slide: Slide) -> tuple[Thumbnail, FoundTissue]:
    settings = TissueParameters()
    thumbnail = slide.thumbnail(settings.thumbnail_mpp)
    return thumbnail, find_tissue(slide, thumbnail, settings, "colour", Networks(settings))


def test_a_sharp_scan_loses_nothing(shared_data: Path) -> None:
    with open_slide(shared_data / "slides/CMU-1-Small-Region.svs") as slide:
        thumbnail, found = search(slide)
        report = quality_report(slide, thumbnail, found, [], {})
    assert found.whole.sum() > 8000  # pixels of 64 µm²: 0.5 mm²
    assert (found.whole & ~found.mask).sum() <= 0.01 * found.whole.sum()
    assert found.agreement > 0.9 and report["sharpness"] > 0.4 and flags_of(report) == []


@pytest.mark.parametrize("number", range(2))
def test_regions_of_glioma_lose_nothing(shared_data: Path, number: int) -> None:
    path = sorted((shared_data / "pathomicfusion/roi/imgs").iterdir())[number]
    with open_slide(path, 0.5) as slide:
        _, found = search(slide)
    assert found.mask.mean() > 0.98


def test_a_real_scan_with_a_blurred_part_loses_that_part(shared_data: Path, tmp_path: Path) -> None:
    with open_slide(shared_data / "slides/CMU-1-Small-Region.svs") as slide:
        pixels = slide.read(0, 0, 0, *slide.dimensions)
    soft, where = cv2.GaussianBlur(pixels, (0, 0), 3 / 0.5), np.zeros(pixels.shape[:2], np.uint8)
    cv2.circle(where, (1150, 2100), 400, 1, -1)
    pixels[where > 0] = soft[where > 0]
    cv2.imwrite(str(tmp_path / "soft.png"), pixels[..., ::-1])
    with open_slide(tmp_path / "soft.png", 0.499) as slide:
        thumbnail, found = search(slide)
    planted = cv2.resize(where, thumbnail.rgb.shape[1::-1], interpolation=cv2.INTER_NEAREST) > 0
    assert (found.blurred & planted).sum() > 0.85 * (found.whole & planted).sum()
    assert (found.blurred & ~planted).sum() < 0.03 * (found.whole & ~planted).sum()
