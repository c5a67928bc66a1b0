"""Masks against planted tissue, cleaning by physical size, focus."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from pathomix.core.errors import PathomixError
from pathomix.slides.tissue import clean, find_masker, focus_measure, focus_positions, pen_mask

MPP = 4.0
INKS = {"blue": (40, 60, 190), "green": (30, 130, 70), "red": (200, 25, 40), "black": (25, 25, 28)}


@pytest.fixture(scope="module")
def thumbnail(image, kit):
    rgb, inside = image
    truth = kit.halved(inside.astype(np.uint8) * 255, 4) > 127
    return kit.halved(rgb, 4), truth


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def cleaned(mask):
    return clean(mask, MPP, close_um=12, min_area_mm2=0.005, max_hole_mm2=0.001)


def test_colour_mask_finds_the_planted_tissue_and_its_hole(thumbnail):
    rgb, truth = thumbnail
    assert dice(cleaned(find_masker("colour")(rgb, MPP)), truth) > 0.95


@pytest.mark.parametrize("tint", [(252, 250, 240), (235, 238, 243), (225, 225, 225)])
def test_colour_mask_is_robust_to_the_colour_of_the_glass(thumbnail, tint):
    rgb, truth = thumbnail
    tinted = (rgb.astype(np.float32) * np.array(tint) / 243).clip(0, 255).astype(np.uint8)
    assert dice(cleaned(find_masker("colour")(tinted, MPP)), truth) > 0.95


def test_colour_mask_is_robust_to_blur(thumbnail):
    rgb, truth = thumbnail
    blurred = cv2.GaussianBlur(rgb, (0, 0), 8 / MPP)
    assert dice(cleaned(find_masker("colour")(blurred, MPP)), truth) > 0.9


@pytest.mark.parametrize("ink", INKS)
def test_pen_on_glass_is_no_tissue_and_does_not_move_the_threshold(thumbnail, ink):
    rgb, truth = thumbnail
    marked = rgb.copy()
    cv2.line(marked, (70, 5), (122, 40), INKS[ink], 6)
    drawn = (marked != rgb).any(axis=2)
    mask = cleaned(find_masker("colour")(marked, MPP))
    assert pen_mask(marked, MPP)[drawn].mean() > 0.95
    assert not mask[drawn & ~truth].any()
    assert dice(mask[~pen_mask(marked, MPP)], truth[~pen_mask(marked, MPP)]) > 0.94


def test_stained_tissue_is_never_taken_for_pen(thumbnail):
    assert not pen_mask(thumbnail[0], MPP).any()
    stains = [(226, 150, 190), (110, 70, 150), (70, 40, 120), (200, 80, 120), (190, 60, 90), (235, 190, 215)]
    for colour in stains:
        assert not pen_mask(np.full((16, 16, 3), colour, dtype=np.uint8), MPP).any(), colour


def test_all_tissue_and_all_glass():
    noise = np.random.default_rng(0).normal(size=(64, 64, 3)) * 3
    tissue = (np.array([220, 160, 195]) + noise).astype(np.uint8)
    glass = (np.array([243, 243, 243]) + noise).astype(np.uint8)
    assert find_masker("colour")(tissue, MPP).all()
    assert not find_masker("colour")(glass, MPP).any()
    assert not find_masker("colour")(np.full((8, 8, 3), 240, dtype=np.uint8), MPP).any()


@pytest.mark.slow  # importing tiatoolbox takes a minute on a busy machine
@pytest.mark.parametrize("name", ["tiatoolbox_otsu", "tiatoolbox_morphological"])
def test_tiatoolbox_maskers_find_the_tissue_too(thumbnail, name):
    rgb, truth = thumbnail
    mask = find_masker(name)(rgb, MPP)
    assert mask.shape == truth.shape and mask.dtype == bool
    assert dice(mask, truth) > 0.8


def test_an_unknown_masker_lists_the_known():
    with pytest.raises(PathomixError, match="colour"):
        find_masker("magic")


@pytest.mark.parametrize("mpp", [2.0, 4.0, 8.0])
def test_cleaning_is_by_physical_size(mpp):
    side = round(1000 / mpp)  # 1 mm
    mask = np.zeros((side, side), dtype=bool)
    unit = round(80 / mpp)  # 0.0064 mm²
    mask[unit : 6 * unit, unit : 6 * unit] = True
    mask[2 * unit : 3 * unit, 2 * unit : 3 * unit] = False  # hole of 0.0064 mm²
    mask[8 * unit : 9 * unit, 8 * unit : 9 * unit] = True  # object of 0.0064 mm²
    kept = clean(mask, mpp, close_um=0, min_area_mm2=0.006, max_hole_mm2=0.006)
    np.testing.assert_array_equal(kept, mask)
    gone = clean(mask, mpp, close_um=0, min_area_mm2=0.007, max_hole_mm2=0.007)
    assert gone[2 * unit, 2 * unit] and not gone[8 * unit, 8 * unit]
    assert gone.sum() == (5 * unit) ** 2


def test_a_hole_is_8_connected_and_an_object_4_connected():
    mask = np.ones((9, 9), dtype=bool)
    mask[3, 3] = mask[4, 4] = False  # one hole of two pixels
    pixel = (MPP / 1000) ** 2
    assert not clean(mask, MPP, close_um=0, min_area_mm2=0, max_hole_mm2=1.5 * pixel)[3, 3]
    assert not clean(~mask, MPP, close_um=0, min_area_mm2=1.5 * pixel, max_hole_mm2=0)[3, 3]  # two objects of one


def test_glass_at_the_border_is_no_hole_and_closing_keeps_the_border():
    mask = np.ones((50, 50), dtype=bool)
    mask[:3, :3] = False
    assert not clean(mask, MPP, close_um=0, min_area_mm2=0.0, max_hole_mm2=1.0)[0, 0]
    half = np.zeros((50, 50), dtype=bool)
    half[:, :25] = True
    np.testing.assert_array_equal(clean(half, MPP, close_um=16, min_area_mm2=0.0, max_hole_mm2=0.0), half)


def test_focus_falls_with_blur_and_ignores_stain_depth(image, kit):
    field = kit.halved(image[0], 1)[400:528, 300:428]
    sharp = focus_measure(field)
    values = [focus_measure(cv2.GaussianBlur(field, (0, 0), sigma)) for sigma in (1, 2, 4)]
    assert sharp > values[0] > values[1] > values[2]
    pale = (255 - (255 - field.astype(np.float32)) * 0.6).astype(np.uint8)
    assert focus_measure(pale) == pytest.approx(sharp, rel=0.1)
    assert focus_measure(np.full((16, 16, 3), 200, dtype=np.uint8)) == 0


def test_focus_positions_lie_on_tissue(thumbnail):
    _, truth = thumbnail
    positions = focus_positions(truth)
    assert len(positions) == 5 and all(truth[y, x] for x, y in positions)
    assert focus_positions(truth) == positions
