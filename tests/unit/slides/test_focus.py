"""Focus: measured contrast against planted blur; low texture is not blur; damaged parts do not end the slide."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from pathomix.core.errors import PathomixError
from pathomix.slides.focus import blurred_mask, contrast_energies, focus_map, focus_measure, focus_positions
from pathomix.slides.reader import open_slide

LIMITS = {"blur_share": 0.2, "min_blur_mm2": 0.005}


@pytest.fixture(scope="module")
def field(image, kit):
    """The synthetic tissue at 0.5 µm and where it is on a thumbnail of 4 µm."""
    return kit.halved(image[0]), kit.halved(image[1].astype(np.uint8) * 255, 4) > 127


def judged(folder, kit, rgb, tissue, mpp=0.5, **options):
    path = kit.write_slide(folder / "slide.tiff", rgb, mpp, **options)
    with open_slide(path) as slide:
        thumbnail = slide.thumbnail(4.0)
        return focus_map(slide, thumbnail, tissue, tissue), thumbnail.mpp


def disc(shape, centre, radius):
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]]
    return (x - centre[0]) ** 2 + (y - centre[1]) ** 2 < radius**2


@pytest.mark.parametrize("sigma_um", [3.0, 5.0])
@pytest.mark.parametrize("levels", [1, 2])
def test_a_blurred_disc_is_found_where_it_is(tmp_path, kit, field, sigma_um, levels):
    rgb, tissue = field
    soft = cv2.GaussianBlur(rgb, (0, 0), sigma_um / 0.5)
    where = disc(rgb.shape[:2], (400, 600), 200)
    mixed = np.where(where[..., None], soft, rgb)
    focus, mpp = judged(tmp_path, kit, mixed, tissue, levels=levels)
    found = blurred_mask(focus, tissue, mpp, **LIMITS)
    planted = (cv2.resize(where.astype(np.uint8), tissue.shape, interpolation=cv2.INTER_AREA) > 0) & tissue
    assert 2 * (found & planted).sum() / (found.sum() + planted.sum()) > 0.85


def test_sharp_tissue_is_kept_whole_and_small_soft_spots_too(tmp_path, kit, field):
    rgb, tissue = field
    focus, mpp = judged(tmp_path, kit, rgb, tissue)
    assert not blurred_mask(focus, tissue, mpp, **LIMITS).any()
    spot = np.where(disc(rgb.shape[:2], (400, 600), 60)[..., None], cv2.GaussianBlur(rgb, (0, 0), 10), rgb)
    focus, mpp = judged(tmp_path, kit, spot, tissue)
    assert not blurred_mask(focus, tissue, mpp, blur_share=0.2, min_blur_mm2=0.02).any()


@pytest.mark.parametrize("noise", [0.0, 1.5])  # as smoothed by the compression, or as the camera saw it
def test_tissue_without_texture_is_not_taken_for_blur(tmp_path, kit, field, noise):
    """Mucin, fat, smooth stroma: little contrast at any scale."""
    rgb, tissue = field
    flat = np.full_like(rgb, (225, 190, 215)).astype(np.float32)
    y, x = np.mgrid[0:1024, 0:1024]
    flat += (2 * np.sin(x / 90) + 2 * np.cos(y / 70))[..., None]
    flat += np.random.default_rng(0).normal(size=rgb.shape[:2])[..., None] * noise
    pale = np.where(disc(rgb.shape[:2], (400, 600), 200)[..., None], np.rint(flat), rgb).astype(np.uint8)
    focus, mpp = judged(tmp_path, kit, pale, tissue)
    assert not blurred_mask(focus, tissue, mpp, blur_share=0.2, min_blur_mm2=0.01).any()


def test_sharpness_falls_with_the_blur_of_the_whole_slide(tmp_path, kit, field):
    rgb, tissue = field
    values = []
    for sigma in (0, 1, 2, 4):
        soft = cv2.GaussianBlur(rgb, (0, 0), sigma / 0.5) if sigma else rgb
        values.append(judged(tmp_path, kit, soft, tissue)[0].sharpness)
    assert values == sorted(values, reverse=True) and values[3] < 0.25 * values[0]


def test_energies_are_those_of_known_waves():
    """A wave of 2.5 µm is fine, one of 30 µm is coarse, one of 400 µm is neither."""
    x = np.arange(1024)
    energies = []
    for length in (2.5, 30.0, 400.0):
        grey = 128 + 40 * np.sin(2 * np.pi * x / length)
        rgb = np.repeat(np.rint(np.tile(grey, (64, 1)))[..., None], 3, axis=2).astype(np.uint8)
        fine, coarse = contrast_energies(rgb, 8, 1.0)
        assert fine.shape == coarse.shape == (8, 128)
        energies.append((float(fine[:, 8:-8].mean()), float(coarse[:, 8:-8].mean())))
    (fine_short, coarse_short), (fine_middle, coarse_middle), (fine_long, coarse_long) = energies
    assert fine_short > 400 and coarse_short < 80
    assert coarse_middle > 200 and fine_middle < 25
    assert fine_long < 1 and coarse_long < 25


def test_focus_is_not_judged_where_the_file_is_too_coarse(tmp_path, kit, field):
    rgb, tissue = field
    focus, _ = judged(tmp_path, kit, kit.halved(rgb, 2), tissue, mpp=2.0)
    assert focus is None


def test_a_damaged_part_is_counted_and_not_judged(zoo, field, monkeypatch):
    with open_slide(zoo / "fine.tiff") as slide:
        thumbnail = slide.thumbnail(4.0)

        def fail(*_):
            raise PathomixError("a tile is damaged", remedy="none")

        monkeypatch.setattr(slide, "read", fail)
        focus = focus_map(slide, thumbnail, field[1], field[1])
    assert focus.unread == 1 and focus.sharpness is None
    assert not blurred_mask(focus, field[1], thumbnail.mpp, **LIMITS).any()


def test_focus_falls_with_blur_and_ignores_stain_depth(image, kit):
    field = kit.halved(image[0], 1)[400:528, 300:428]
    sharp = focus_measure(field)
    values = [focus_measure(cv2.GaussianBlur(field, (0, 0), sigma)) for sigma in (1, 2, 4)]
    assert sharp > values[0] > values[1] > values[2]
    pale = (255 - (255 - field.astype(np.float32)) * 0.6).astype(np.uint8)
    assert focus_measure(pale) == pytest.approx(sharp, rel=0.1)
    assert focus_measure(np.full((16, 16, 3), 200, dtype=np.uint8)) == 0


def test_focus_positions_lie_on_tissue(field):
    positions = focus_positions(field[1])
    assert len(positions) == 5 and all(field[1][y, x] for x, y in positions)
    assert focus_positions(field[1]) == positions
