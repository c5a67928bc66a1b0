"""Regions of interest as images of a network: random crops for training, a fixed grid of crops for prediction.

Spec path_gptomic 6.3. The randomness of an image is one row of uniform numbers drawn for it whatever the options are:
an image gets the same crop in a batch of any length, and turning the flips off moves no crop.
"""

from __future__ import annotations

import math
from itertools import permutations
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.v2 import functional

from pathomix.core.errors import PathomixError

Jitter = tuple[float, float, float, float]

_LARGEST_HUE = 0.5
_ADJUSTMENTS = (
    functional.adjust_brightness,
    functional.adjust_contrast,
    functional.adjust_saturation,
    functional.adjust_hue,
)
_ORDERS = tuple(permutations(range(len(_ADJUSTMENTS))))
# corner (y, x), flips (left-right, up-down), one number per adjustment, the order of the adjustments
_DRAWS = 2 + 2 + len(_ADJUSTMENTS) + 1


class Statistics(NamedTuple):
    """Mean and standard deviation of R, G, B in [0, 1] that a network was trained with."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


IMAGENET = Statistics((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = Statistics((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
STATISTICS = {"imagenet": IMAGENET, "half": HALF}


def training_crop(
    images: NDArray[np.uint8],
    size: int,
    generator: np.random.Generator,
    *,
    crop: int,
    flips: bool = True,
    jitter: Jitter = (0.1, 0.1, 0.05, 0.01),
    mean: tuple[float, float, float] = IMAGENET.mean,
    std: tuple[float, float, float] = IMAGENET.std,
) -> Tensor:
    """One random crop of every image: cut, flip, colour jitter, resize, normalise (spec path_gptomic 6.3).

    Args:
        images: uint8 [n, S0, S0, 3], RGB.
        size: Edge of the result in pixels.
        generator: Source of all randomness; every image takes the same count of numbers from it.
        crop: Edge of the crop in pixels of the image, at most S0.
        flips: Flip left-right and up-down, each with probability 1/2.
        jitter: Largest relative change of brightness, contrast and saturation (factors uniform in 1 ± value) and
            largest shift of the hue (in turns, at most 0.5); the four are applied in random order.
        mean: Mean of R, G, B in [0, 1] that is subtracted.
        std: Standard deviation that is divided by.

    Returns:
        float32 [n, 3, size, size].

    Raises:
        PathomixError: The images are not square uint8 RGB, the crop is larger than they are, or the jitter is no
            strength.
    """
    edge = _edge(images, 4)
    _check_sizes(edge, crop, size)
    if min(jitter) < 0 or jitter[3] > _LARGEST_HUE:
        raise PathomixError(
            f"colour jitter {tuple(jitter)}", remedy="give four strengths of at least 0, the hue at most 0.5"
        )
    draws = generator.random((len(images), _DRAWS))
    result = torch.empty(len(images), 3, size, size)
    for number, (image, row) in enumerate(zip(images, draws, strict=True)):
        top, left = (math.floor(value * (edge - crop + 1)) for value in row[:2])
        pixels = _as_tensor(image[top : top + crop, left : left + crop])
        if flips:
            pixels = pixels.flip([axis for axis, value in zip((2, 1), row[2:4], strict=True) if value < 0.5])
        result[number] = _resized(_jittered(pixels, jitter, row[4:]), size)
    return _normalised(result, mean, std)


def test_crops(
    image: NDArray[np.uint8],
    *,
    crop: int,
    stride: int,
    size: int,
    mean: tuple[float, float, float] = IMAGENET.mean,
    std: tuple[float, float, float] = IMAGENET.std,
) -> Tensor:
    """A fixed grid of crops of one image in row-major order, nothing random (spec path_gptomic 6.3).

    1024 pixels with crop 512 and stride 256 give nine, a region as large as the crop gives itself. Where the stride
    does not divide what is left beside the crop, the crops are moved together so that the grid reaches the far edge.

    Args:
        image: uint8 [S0, S0, 3], RGB.
        crop: Edge of a crop in pixels of the image, at most S0.
        stride: Largest distance of neighbouring crops in pixels of the image.
        size: Edge of the result in pixels.
        mean: Mean of R, G, B in [0, 1] that is subtracted.
        std: Standard deviation that is divided by.

    Returns:
        float32 [crops, 3, size, size].

    Raises:
        PathomixError: The image is not square uint8 RGB, smaller than the crop, or the stride is not positive.
    """
    edge = _edge(image, 3)
    _check_sizes(edge, crop, size)
    if stride < 1:
        raise PathomixError(f"the stride of the crops is {stride}", remedy="give at least 1 pixel")
    starts = np.rint(np.linspace(0, edge - crop, math.ceil((edge - crop) / stride) + 1)).astype(int)
    crops = [_as_tensor(image[top : top + crop, left : left + crop]) for top in starts for left in starts]
    return _normalised(torch.stack([_resized(pixels, size) for pixels in crops]), mean, std)


def _edge(images: NDArray[np.uint8], dimensions: int) -> int:
    shape = images.shape
    if images.dtype != np.uint8 or len(shape) != dimensions or shape[-1] != 3 or shape[-2] != shape[-3]:
        raise PathomixError(
            f"regions of shape {shape} and type {images.dtype}", remedy="give square RGB images as uint8, channels last"
        )
    return int(shape[-2])


def _check_sizes(edge: int, crop: int, size: int) -> None:
    if not 1 <= crop <= edge or size < 1:
        raise PathomixError(
            f"a crop of {crop} pixels resized to {size} from a region of {edge}",
            remedy="choose a crop that is at most the region's edge, or cut larger regions",
        )


def _as_tensor(pixels: NDArray[np.uint8]) -> Tensor:
    # always a copy: the stored images are read-only
    return torch.from_numpy(np.array(pixels.transpose(2, 0, 1), order="C")).float() / 255


def _jittered(pixels: Tensor, jitter: Jitter, draws: NDArray[np.float64]) -> Tensor:
    for number in _ORDERS[math.floor(draws[-1] * len(_ORDERS))]:
        strength, shift = jitter[number], 2 * float(draws[number]) - 1
        if strength:
            # brightness, contrast and saturation are factors around 1, the hue is a shift around 0
            value = strength * shift if number == 3 else max(0.0, 1 + strength * shift)
            pixels = _ADJUSTMENTS[number](pixels, value)
    return pixels


def _resized(pixels: Tensor, size: int) -> Tensor:
    return functional.resize(pixels, [size, size], antialias=True)


def _normalised(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    return (images - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(1, 3, 1, 1)
