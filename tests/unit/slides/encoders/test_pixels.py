"""Tiles to input, against Pillow and torchvision: what the encoders' authors run on images."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision import transforms
from torchvision.transforms import InterpolationMode

from pathomix.core.errors import PathomixError
from pathomix.slides.encoders.entries import spec_of
from pathomix.slides.encoders.parameters import EncoderParameters
from pathomix.slides.encoders.pixels import Pixels, resampled, resampling

MODES = {"bilinear": InterpolationMode.BILINEAR, "bicubic": InterpolationMode.BICUBIC}


def reference(tiles, parameters):
    """The authors' kind of transform, on Pillow images."""
    composed = transforms.Compose(
        [
            transforms.Resize(parameters.edge, interpolation=MODES[parameters.interpolation]),
            transforms.CenterCrop(parameters.input_size),
            transforms.ToTensor(),
            transforms.Normalize(parameters.mean, parameters.std),
        ]
    )
    return torch.stack([composed(Image.fromarray(tile)) for tile in tiles.numpy()])


def grey_levels(difference, parameters):
    return (difference * torch.tensor(parameters.std).view(1, 3, 1, 1) * 255).abs()


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
    ("tile", "resize", "size"),
    [(256, 0, 224), (512, 0, 448), (512, 0, 224), (256, 240, 224), (50, 0, 64), (97, 83, 40), (99, 99, 40)],
)
@pytest.mark.parametrize("kind", ["smooth", "noise"])
def test_equals_pillow(tiles, interpolation, tile, resize, size, kind):
    parameters = EncoderParameters("timm", tile_size=tile, resize=resize, input_size=size, interpolation=interpolation)
    rng = np.random.default_rng(1)
    noise = torch.from_numpy(rng.integers(0, 256, (2, tile, tile, 3)).astype(np.uint8))
    pixels = noise if kind == "noise" else tiles(tile, 2)
    difference = grey_levels(Pixels(parameters)(pixels) - reference(pixels, parameters), parameters)
    assert difference.max() < 0.01


@pytest.mark.parametrize("name", ["gigapath", "virchow2", "midnight_12k", "h_optimus_0", "phikon_v2", "t2t_vit_14"])
def test_tiles_of_the_right_size_are_not_touched(tiles, name):
    parameters = spec_of(name).parameters
    pixels = tiles(parameters.tile_size, 1)
    made, expected = Pixels(parameters)(pixels), reference(pixels, parameters)
    torch.testing.assert_close(made, expected, rtol=0, atol=2e-6)
    edge, size = parameters.tile_size, parameters.input_size
    first = (edge - size) // 2
    cut = pixels[:, first : first + size, first : first + size].permute(0, 3, 1, 2)
    back = (made * torch.tensor(parameters.std).view(1, 3, 1, 1) + torch.tensor(parameters.mean).view(1, 3, 1, 1)) * 255
    assert torch.equal(back.round().to(torch.uint8), cut)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.sampled_from(["bilinear", "bicubic"]), st.integers(0, 2**32 - 1))
def test_one_axis_equals_pillow_at_any_size(before, after, interpolation, seed):
    row = np.random.default_rng(seed).integers(0, 256, (1, before)).astype(np.uint8)
    filters = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
    expected = np.asarray(Image.fromarray(row).resize((after, 1), filters[interpolation]))
    column = torch.from_numpy(row).int()[None, None].mT.contiguous()
    made = resampled(column, *resampling(before, after, interpolation))[0, 0].mT.numpy()
    np.testing.assert_array_equal(made, expected)


def test_resized_pixels_are_whole_grey_levels(tiles):
    plain = EncoderParameters("timm", tile_size=60, input_size=50, mean=(0.0,) * 3, std=(1.0,) * 3)
    levels = Pixels(plain)(tiles(60)) * 255
    torch.testing.assert_close(levels, levels.round(), rtol=0, atol=1e-4)
    assert levels.min() >= 0 and levels.max() <= 255


def test_overshoot_of_the_cubic_is_cut():
    tile = torch.zeros((1, 64, 64, 3), dtype=torch.uint8)
    tile[:, :, 32:] = 255
    plain = EncoderParameters("timm", tile_size=64, input_size=100, mean=(0.0,) * 3, std=(1.0,) * 3)
    made = Pixels(plain)(tile)
    assert made.min() == 0 and made.max() == 1


def test_channels_stay_where_they_are():
    tile = torch.zeros((1, 8, 8, 3), dtype=torch.uint8)
    tile[..., 0], tile[..., 2] = 255, 51
    made = Pixels(EncoderParameters("timm", tile_size=8, input_size=8, mean=(0.0,) * 3, std=(1.0,) * 3))(tile)
    assert made[0, :, 0, 0].tolist() == pytest.approx([1.0, 0.0, 0.2])
    assert made.is_contiguous(memory_format=torch.channels_last)


def test_the_tiles_given_are_left_as_they_are(tiles):
    pixels = tiles(32)
    before = pixels.clone()
    Pixels(EncoderParameters("timm", tile_size=32, input_size=24))(pixels)
    assert torch.equal(pixels, before)


@pytest.mark.parametrize(
    "wrong",
    [
        torch.zeros((2, 64, 64, 3), dtype=torch.uint8),
        torch.zeros((2, 3, 32, 32), dtype=torch.uint8),
        torch.zeros((2, 32, 32, 4), dtype=torch.uint8),
        torch.zeros((2, 32, 32, 3)),
    ],
)
def test_other_tiles_are_refused(wrong):
    """A tile of another edge would be of another scale: it is not quietly resized."""
    with pytest.raises(PathomixError, match="not uint8"):
        Pixels(EncoderParameters("timm", tile_size=32, input_size=32))(wrong)


def test_statistics_are_those_of_the_encoder(tiles):
    base = EncoderParameters("timm", tile_size=16, input_size=16)
    half = dataclasses.replace(base, mean=(0.5,) * 3, std=(0.5,) * 3)
    pixels = tiles(16, 1)
    values = pixels.permute(0, 3, 1, 2).numpy().astype(np.float64) / 255
    np.testing.assert_allclose(Pixels(half)(pixels).numpy(), values * 2 - 1, atol=1e-6)
