"""Crops: where they lie, what the jitter does to the colours, and that only the generator decides."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pathomix.core.errors import PathomixError
from pathomix.slides import region_images
from pathomix.slides.region_images import HALF, IMAGENET, STATISTICS, training_crop

PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
STILL = {"flips": False, "jitter": (0, 0, 0, 0), **PLAIN}


def coordinates(edge):
    """Image whose red is the column and whose green is the row."""
    row, column = np.mgrid[0:edge, 0:edge]
    return np.stack([column, row, np.full_like(row, 7)], axis=-1).astype(np.uint8)


def pixels(tensor):
    """uint8 [n, h, w, 3] of images that were not normalised."""
    return np.rint(tensor.numpy() * 255).astype(np.uint8).transpose(0, 2, 3, 1)


def rng(seed=0):
    return np.random.default_rng(seed)


def crops_of(edge, crop, stride, size=None):
    image = coordinates(edge)
    return pixels(region_images.test_crops(image, crop=crop, stride=stride, size=size or crop, **PLAIN))


def test_nine_crops_of_1024_in_row_major_order():
    image = rng().integers(0, 256, (1024, 1024, 3), dtype=np.uint8)
    crops = pixels(region_images.test_crops(image, crop=512, stride=256, size=512, **PLAIN))
    expected = [image[top : top + 512, left : left + 512] for top in (0, 256, 512) for left in (0, 256, 512)]
    np.testing.assert_array_equal(crops, np.stack(expected))


def test_a_region_as_large_as_the_crop_is_itself():
    np.testing.assert_array_equal(crops_of(64, 64, 32), coordinates(64)[None])


@given(edge=st.integers(1, 60), crop=st.integers(1, 60), stride=st.integers(1, 70))
@settings(max_examples=60, deadline=None)
def test_crops_reach_every_edge_and_are_no_farther_apart_than_the_stride(edge, crop, stride):
    if crop > edge:
        return
    crops = crops_of(edge, crop, stride)
    corners = crops[:, 0, 0, :2].astype(int)
    starts = np.unique(corners[:, 0])
    assert starts[0] == 0 and starts[-1] == edge - crop and (np.diff(starts) <= stride).all()
    assert len(crops) == len(starts) ** 2 == (-(-(edge - crop) // stride) + 1) ** 2
    assert (np.unique(corners[:, 1]) == starts).all()


def test_training_crops_are_cuts_of_the_image_from_everywhere():
    images = np.repeat(coordinates(20)[None], 2000, axis=0)
    crops = pixels(training_crop(images, 12, rng(), crop=12, **STILL))
    corners = crops[:, 0, 0, :2].astype(int)
    whole = coordinates(20)
    for crop, (left, top) in zip(crops[:50], corners[:50], strict=True):
        np.testing.assert_array_equal(crop, whole[top : top + 12, left : left + 12])
    for axis in range(2):  # nine places, 222 expected in each, standard deviation 14
        counts = np.bincount(corners[:, axis], minlength=9)
        assert len(counts) == 9 and counts.min() > 160 and counts.max() < 290
    assert abs(np.corrcoef(corners.T)[0, 1]) < 0.1


def test_each_flip_happens_to_half_of_the_images_on_its_own():
    images = np.repeat(coordinates(16)[None], 2000, axis=0)
    crops = pixels(training_crop(images, 16, rng(1), crop=16, jitter=(0, 0, 0, 0), **PLAIN)).astype(int)
    mirrored, upturned = crops[:, 0, 0, 0] == 15, crops[:, 0, 0, 1] == 15
    for share in (mirrored.mean(), upturned.mean(), (mirrored == upturned).mean()):
        assert abs(share - 0.5) < 0.06
    whole = pixels(training_crop(images, 8, rng(1), crop=8, jitter=(0, 0, 0, 0), **PLAIN)).astype(int)
    left, top = whole[..., 0].min(axis=(1, 2)), whole[..., 1].min(axis=(1, 2))
    for flip in (mirrored, upturned):  # the same numbers: the flips are those of the larger crop, wherever it lies
        assert max(abs(np.corrcoef(flip, place)[0, 1]) for place in (left, top)) < 0.1
    variants = {(a, b): crops[(mirrored == a) & (upturned == b)][0] for a in (0, 1) for b in (0, 1)}
    for (a, b), crop in variants.items():
        np.testing.assert_array_equal(crop, coordinates(16)[:: -1 if b else 1, :: -1 if a else 1])


def jittered(image, n, jitter, seed=3):
    images = np.repeat(image[None], n, axis=0)
    result = training_crop(images, len(image), rng(seed), crop=len(image), flips=False, jitter=jitter, **PLAIN)
    return result.numpy().transpose(0, 2, 3, 1).astype(float)


@pytest.fixture
def stained():
    """Mid-range colours: no adjustment of a tenth leaves [0, 1], so none is clipped."""
    return rng(5).integers(90, 170, (8, 8, 3)).astype(np.uint8)


def spread(values, low, high):
    """Whether values fill an interval evenly."""
    width = high - low
    assert low <= min(values) < low + 0.1 * width and high - 0.1 * width < max(values) <= high
    assert abs(np.mean(values) - (low + high) / 2) < 0.1 * width


def test_brightness_multiplies(stained):
    ratio = jittered(stained, 200, (0.1, 0, 0, 0)) / (stained / 255)
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[:, :1, :1, :1], ratio.shape), rtol=1e-5)
    spread(ratio[:, 0, 0, 0], 0.9, 1.1)


def test_contrast_moves_away_from_the_mean_grey(stained):
    image = stained / 255
    grey = (image @ [0.299, 0.587, 0.114]).mean()
    ratio = (jittered(stained, 200, (0, 0.1, 0, 0)) - grey) / (image - grey)
    spread(np.median(ratio, axis=(1, 2, 3)), 0.9, 1.1)
    assert np.abs(ratio - np.median(ratio, axis=(1, 2, 3), keepdims=True))[:, np.abs(image - grey) > 0.05].max() < 0.01


def test_saturation_moves_away_from_the_pixels_grey(stained):
    image = stained / 255
    grey = (image @ [0.299, 0.587, 0.114])[..., None]
    ratio = (jittered(stained, 200, (0, 0, 0.05, 0)) - grey) / (image - grey)
    spread(np.median(ratio, axis=(1, 2, 3)), 0.95, 1.05)
    assert np.abs(ratio - np.median(ratio, axis=(1, 2, 3), keepdims=True))[:, np.abs(image - grey) > 0.05].max() < 0.01


def test_hue_turns_the_colour_circle_and_nothing_else(stained):
    turned = jittered(stained, 100, (0, 0, 0, 0.01))
    before = np.array([colorsys.rgb_to_hsv(*p) for p in (stained / 255).reshape(-1, 3)])
    after = np.array([[colorsys.rgb_to_hsv(*p) for p in image.reshape(-1, 3)] for image in turned])
    np.testing.assert_allclose(after[..., 1:], np.broadcast_to(before[:, 1:], after[..., 1:].shape), atol=1e-4)
    shift = (after[..., 0] - before[:, 0] + 0.5) % 1 - 0.5
    np.testing.assert_allclose(shift, np.broadcast_to(shift[:, :1], shift.shape), atol=1e-4)
    spread(shift[:, 0], -0.01, 0.01)


def test_the_adjustments_come_in_any_order():
    """Less contrast and more brightness: white is clipped after the contrast, or before it and then nowhere."""
    image = np.zeros((4, 4, 3), dtype=np.uint8)
    image[:2] = 255
    ends = [(result.min(), result.max()) for result in jittered(image, 400, (0.5, 0.5, 0, 0))]
    contrast_first = [low for low, high in ends if low > 0.01 and high == 1]
    brightness_first = [low for low, high in ends if low > 0.01 and high < 0.99 and abs(low + high - 1) < 1e-4]
    assert len(contrast_first) > 20 and len(brightness_first) > 20


@pytest.mark.parametrize("options", [{}, {"flips": False}, {"jitter": (0, 0, 0, 0)}])
def test_an_image_gets_the_same_crop_in_any_batch(options):
    images = rng(2).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    whole = training_crop(images, 16, rng(9), crop=24, **options)
    generator = rng(9)
    parts = [training_crop(images[a:b], 16, generator, crop=24, **options) for a, b in ((0, 1), (1, 4), (4, 6))]
    assert torch.equal(whole, torch.cat(parts))
    assert torch.equal(whole, training_crop(images, 16, rng(9), crop=24, **options))
    assert not torch.equal(whole, training_crop(images, 16, rng(10), crop=24, **options))


def test_switching_the_jitter_off_moves_no_crop_and_no_flip():
    images = np.repeat(coordinates(64)[None], 20, axis=0)
    common = {"crop": 32, "mean": (0, 0, 0), "std": (1, 1, 1)}
    plain = training_crop(images, 32, rng(4), jitter=(0, 0, 0, 0), **common)
    assert (training_crop(images, 32, rng(4), jitter=(1e-6, 0, 0, 1e-6), **common) - plain).abs().max() < 1e-4


def test_no_global_generator_is_asked():
    torch.manual_seed(0)
    np.random.seed(0)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    training_crop(np.zeros((3, 16, 16, 3), dtype=np.uint8), 8, rng(), crop=12)
    assert torch.equal(before[0], torch.get_rng_state()) and (before[1] == np.random.get_state()[1]).all()


@pytest.mark.parametrize("size", [7, 16, 40])
def test_resizing_agrees_with_pillow(size):
    image = rng(6).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    planes = [Image.fromarray(image[..., c].astype(np.float32)) for c in range(3)]
    expected = np.stack([np.asarray(plane.resize((size, size), Image.Resampling.BILINEAR)) for plane in planes]) / 255
    fixed = region_images.test_crops(image, crop=32, stride=1, size=size, **PLAIN)[0].numpy()
    random = training_crop(image[None], size, rng(), crop=32, **STILL)[0].numpy()
    np.testing.assert_allclose(fixed, expected, atol=1e-5)
    np.testing.assert_array_equal(fixed, random)


@pytest.mark.parametrize("statistics", [IMAGENET, HALF])
def test_statistics_are_subtracted_and_divided(statistics):
    image = np.broadcast_to(np.array([10, 100, 250], dtype=np.uint8), (8, 8, 3))
    expected = (np.array([10, 100, 250]) / 255 - statistics.mean) / statistics.std
    options = {"mean": statistics.mean, "std": statistics.std}
    for result in (
        region_images.test_crops(image, crop=8, stride=8, size=8, **options),
        training_crop(image[None], 8, rng(), crop=4, jitter=(0, 0, 0, 0), **options),
    ):
        assert result.dtype == torch.float32 and result.shape == (1, 3, 8, 8)
        np.testing.assert_allclose(result[0, :, 3, 3], expected, rtol=1e-5)
    assert STATISTICS == {"imagenet": IMAGENET, "half": HALF}


def test_a_stored_image_stays_as_it_is():
    image = coordinates(8)
    image.flags.writeable = False
    region_images.test_crops(image, crop=1, stride=4, size=1)[:] = 9
    training_crop(image[None], 8, rng(), crop=8)
    np.testing.assert_array_equal(image, coordinates(8))


@pytest.mark.parametrize(
    ("images", "options", "match"),
    [
        (np.zeros((2, 8, 8, 3), np.uint8), {"crop": 9}, "a crop of 9 pixels resized to 4 from a region of 8"),
        (np.zeros((2, 8, 8, 3), np.uint8), {"crop": 0}, "a crop of 0"),
        (np.zeros((2, 8, 9, 3), np.uint8), {"crop": 4}, "square RGB"),
        (np.zeros((2, 8, 8, 4), np.uint8), {"crop": 4}, "square RGB"),
        (np.zeros((2, 8, 8, 3), np.float32), {"crop": 4}, "float32"),
        (np.zeros((8, 8, 3), np.uint8), {"crop": 4}, "square RGB"),
        (np.zeros((2, 8, 8, 3), np.uint8), {"crop": 4, "jitter": (0, 0, 0, 0.6)}, "hue at most 0.5"),
        (np.zeros((2, 8, 8, 3), np.uint8), {"crop": 4, "jitter": (-0.1, 0, 0, 0)}, "at least 0"),
    ],
)
def test_what_cannot_be_cropped_is_refused(images, options, match):
    with pytest.raises(PathomixError, match=match):
        training_crop(images, 4, rng(), **options)


def test_a_region_smaller_than_the_crop_and_a_stride_of_nothing_are_refused():
    for options, match in (({"crop": 9, "stride": 1}, "from a region of 8"), ({"crop": 4, "stride": 0}, "stride")):
        with pytest.raises(PathomixError, match=match):
            region_images.test_crops(coordinates(8), size=4, **options)
