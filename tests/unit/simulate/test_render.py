from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from pathomix.simulate import nuclei
from pathomix.simulate.render import render
from pathomix.simulate.slide_plan import (
    FIRST_PATTERN,
    SlidePlan,
    blur_mask,
    layout,
    pen_colour,
    pen_mask,
    planted_mask,
    tissue_mask,
    to_pixels,
)


def grey(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(float)


@pytest.mark.parametrize("mpp", [0.5, 0.25])
def test_tissue_is_coloured_on_white(plan: SlidePlan, mpp: float) -> None:
    plan = replace(plan, mpp=mpp)
    image, mask = render(plan), tissue_mask(plan)
    assert image.shape == (*mask.shape, 3) and image.dtype == np.uint8
    kernel = np.ones((round(14 / mpp),) * 2, np.uint8)
    outside = cv2.erode((~mask).astype(np.uint8), kernel).astype(bool)
    assert (image[outside] == 243).all()
    saturation = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)[..., 1]
    found = saturation > 12
    # Lumens are white: close them as any tissue segmentation does.
    found = cv2.morphologyEx(found.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((round(16 / mpp),) * 2, np.uint8)) > 0
    dice = 2 * (found & mask).sum() / (found.sum() + mask.sum())
    assert dice > 0.96


def test_planted_morphology_is_readable_from_darkness(plan: SlidePlan) -> None:
    shares, dark = [], []
    for k, extent in enumerate(np.linspace(0.03, 0.6, 8)):
        one = replace(plan, extent=float(extent), seed=k)
        image, tissue = grey(render(one)), tissue_mask(one)
        shares.append(extent)
        dark.append((image[tissue] < 75).mean())
        inside, rest = planted_mask(one), tissue & ~planted_mask(one)
        assert image[inside].mean() < image[rest].mean() - 30
    assert np.corrcoef(shares, dark)[0, 1] > 0.97


def test_growth_patterns_look_different(plan: SlidePlan) -> None:
    plan = replace(plan, patterns=(0.34, 0.33, 0.33), extent=0.05, size_um=400.0)
    image, region = render(plan).astype(float), layout(plan).region
    means = [image[to_pixels((region == FIRST_PATTERN + k).astype(np.float32), plan)].mean(axis=0) for k in range(3)]
    assert min(np.abs(means[a] - means[b]).max() for a, b in ((0, 1), (0, 2), (1, 2))) > 8


def test_glands_have_an_empty_lumen_in_an_epithelium(plan: SlidePlan) -> None:
    plan = replace(plan, patterns=(1.0, 0.0), extent=0.05, size_um=400.0)
    drawn, image = layout(plan), render(plan)
    glands = nuclei.place(plan, drawn, np.zeros(drawn.region.shape, np.float32))[1]
    rows, columns = (np.asarray(v / plan.mpp).astype(int) for v in (glands.y, glands.x))
    assert len(rows) > 15
    centre = image[rows, columns].min(axis=1)
    # Glands in the outermost micrometres of the tissue are cut open, and some lie half under another region.
    assert np.median(centre) > 225 and (centre > 200).mean() > 0.9
    wall = image[np.clip(rows + round(9 / plan.mpp), 0, plan.pixels - 1), columns].min(axis=1)
    assert (wall.astype(int) < centre.astype(int) - 15).mean() > 0.85


def test_same_plan_same_pixels_other_slide_other_pixels(plan: SlidePlan) -> None:
    assert np.array_equal(render(plan), render(plan))
    assert not np.array_equal(render(plan), render(replace(plan, seed=12)))


@pytest.mark.parametrize("colour", ["blue", "green", "black"])
def test_pen_covers_its_mask_and_nothing_else(plan: SlidePlan, colour: str) -> None:
    marked = replace(plan, pen=colour)
    clean, image, ink = render(plan).astype(int), render(marked).astype(int), pen_mask(marked)
    core = cv2.erode(ink.astype(np.uint8), np.ones((13, 13), np.uint8)).astype(bool)
    around = cv2.dilate(ink.astype(np.uint8), np.ones((25, 25), np.uint8)).astype(bool)
    assert core.sum() > 500
    assert np.abs(image[core].mean(axis=0) - pen_colour(colour)).max() < 40
    assert np.array_equal(image[~around], clean[~around])


def test_blur_removes_detail_where_it_is_planted(plan: SlidePlan) -> None:
    blurred = replace(plan, blurred=True)
    sharp, soft = (np.abs(cv2.Laplacian(grey(render(p)), cv2.CV_64F)) for p in (plan, blurred))
    core = cv2.erode((blur_mask(blurred) & tissue_mask(plan)).astype(np.uint8), np.ones((15, 15), np.uint8)) > 0
    outside = layout(blurred).blur == 0
    far = cv2.erode(to_pixels(outside.astype(np.float32), blurred).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    assert core.sum() > 1000
    assert soft[core].mean() < 0.25 * sharp[core].mean()
    assert np.array_equal(soft[far], sharp[far])


def test_stain_changes_the_colour_only(plan: SlidePlan) -> None:
    other = replace(plan, stains=(0.8, 1.45, 1.2, 0.35, 0.86, 0.2))
    first, second = render(plan), render(other)
    tissue = tissue_mask(plan)
    assert np.abs(first[tissue].mean(axis=0) - second[tissue].mean(axis=0)).max() > 5
    assert np.corrcoef(first[tissue][:, 1], second[tissue][:, 1])[0, 1] > 0.99


def test_both_scans_of_one_tissue_agree(plan: SlidePlan) -> None:
    coarse, fine = render(plan), render(replace(plan, mpp=0.25))
    reduced = cv2.resize(fine, coarse.shape[:2], interpolation=cv2.INTER_AREA)
    tissue = tissue_mask(plan)
    smooth = [cv2.GaussianBlur(i, (0, 0), 6)[tissue].astype(float) for i in (coarse, reduced)]
    assert np.abs(smooth[0].mean(axis=0) - smooth[1].mean(axis=0)).max() < 6
    assert np.corrcoef(smooth[0][:, 0], smooth[1][:, 0])[0, 1] > 0.95
