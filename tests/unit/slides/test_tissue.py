"""Masks against planted tissue, ink, faint fat, cleaning by physical size."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from pathomix.core.errors import PathomixError
from pathomix.slides.tissue import clean, drop_small, find_masker, foreign_mask, otsu, pen_mask, white_balanced

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
    mask = cleaned(find_masker("colour")(marked, MPP) & ~pen_mask(marked, MPP))
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


def adipose(truth_seed=0, side=256):
    """Stained tissue with fat beside it, at 4 µm: thin membranes around clear cells of 80 µm; and where both are."""
    rng = np.random.default_rng(truth_seed)
    fine = np.full((side * 8, side * 8, 3), 243.0, dtype=np.float32)  # 0.5 µm
    y, x = np.mgrid[0 : side * 8, 0 : side * 8]
    cells = 160  # pixels of 0.5 µm
    row = y // cells
    membrane = (y % cells < 4) | ((x + (row % 2) * (cells // 2)) % cells < 4)
    fat = (x > side * 3) & (x < side * 6) & (y > side) & (y < side * 7)
    stained = (x > side) & (x <= side * 3) & (y > side) & (y < side * 7)
    fine[fat & membrane] = (214, 140, 178)
    fine[stained] = (214, 140, 185)
    rgb = cv2.resize(fine, (side, side), interpolation=cv2.INTER_AREA) + rng.normal(size=(side, side, 3)) * 1.5
    small = [cv2.resize(m.astype(np.uint8), (side, side), interpolation=cv2.INTER_AREA) > 0 for m in (stained, fat)]
    return rgb.clip(0, 255).astype(np.uint8), *small


@pytest.mark.parametrize("mpp", [4.0, 8.0])
def test_faint_fat_beside_stained_tissue_belongs_to_it_and_glass_does_not(mpp):
    rgb, stained, fat = adipose(side=256)
    if mpp == 8.0:
        rgb = cv2.resize(rgb, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        stained, fat = stained[::2, ::2], fat[::2, ::2]
    mask = clean(find_masker("colour")(rgb, mpp), mpp, close_um=24, min_area_mm2=0.005, max_hole_mm2=0.01)
    assert mask[stained].mean() > 0.97
    assert mask[fat].mean() > 0.85
    far = cv2.dilate((stained | fat).astype(np.uint8), np.ones((9, 9))) == 0
    assert mask[far].mean() < 0.01


def test_specks_of_pigment_are_no_pen():
    rgb = np.full((128, 128, 3), (214, 150, 190), dtype=np.uint8)
    for x in range(10, 120, 20):
        cv2.circle(rgb, (x, 64), 3, (30, 25, 28), -1)
    assert not pen_mask(rgb, MPP).any()
    cv2.line(rgb, (10, 30), (110, 30), (30, 25, 28), 8)
    assert pen_mask(rgb, MPP)[30, 20:100].all()


def test_grey_and_black_matter_is_foreign_and_stained_tissue_is_not(thumbnail):
    rgb, _ = thumbnail
    assert foreign_mask(rgb, MPP).mean() < 0.002
    dirty = rgb.copy()
    cv2.circle(dirty, (110, 15), 6, (90, 90, 92), -1)
    assert foreign_mask(dirty, MPP)[12:18, 107:113].all()
    assert not cleaned(find_masker("colour")(dirty, MPP))[12:18, 107:113].any()


def test_luminance_agrees_with_colour_and_does_not_look_at_it(thumbnail):
    rgb, truth = thumbnail
    grey = np.repeat(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    assert dice(cleaned(find_masker("luminance")(grey, MPP)), truth) > 0.95
    assert not find_masker("luminance")(np.full((8, 8, 3), 240, dtype=np.uint8), MPP).any()


def test_otsu_equals_scikit_image():
    from skimage.filters import threshold_otsu

    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(40, 8, 3000), rng.normal(170, 15, 2000)]).clip(0, 255).astype(np.uint8)
    assert otsu(values) == threshold_otsu(values)


def test_white_balance_makes_the_glass_white_and_leaves_an_image_without_glass(thumbnail):
    rgb, truth = thumbnail
    tinted = (rgb.astype(np.float32) * np.array([250, 235, 242]) / 255).clip(0, 255).astype(np.uint8)
    assert np.abs(white_balanced(tinted)[~truth].mean(axis=0) - 255).max() < 4
    tissue = np.full((16, 16, 3), (190, 120, 160), dtype=np.uint8)
    assert white_balanced(tissue) is tissue


def test_small_pieces_go_by_area():
    mask = np.zeros((40, 40), dtype=bool)
    mask[2:6, 2:6] = mask[10:30, 10:30] = True
    kept = drop_small(mask, 10.0, 0.002)  # 16 and 400 pixels of 0.0001 mm²
    assert not kept[:8, :8].any() and kept.sum() == 400
