"""Tiles to the network's input, on the device that holds them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pathomix.core.errors import PathomixError
from pathomix.slides.encoders.parameters import EncoderParameters

_BITS = 22
"""Pillow's weights are multiples of 2^-22."""

_TOGETHER = {"cpu": 2}
_TOGETHER_ELSEWHERE = 64
"""Tiles that are resized at a time: what a processor's cache holds, and what bounds the memory of a GPU."""


class Pixels(nn.Module):
    """Resize, cut the centre, normalise, as the encoders' authors do with Pillow and torchvision.

    Resized tiles equal Pillow's to the last bit, on every device: its weights are whole multiples of 2^-22, and sums of
    integers are exact. (Resizing in one pass of float32 is off by up to 20 grey levels at hard edges, because Pillow
    cuts to 0 ... 255 after each of its two passes.)

    Args:
        parameters: Of the encoder.
    """

    mean: Tensor
    std: Tensor
    places: Tensor
    weights: Tensor

    def __init__(self, parameters: EncoderParameters) -> None:
        super().__init__()
        self.tile, self.edge, self.kept = parameters.tile_size, parameters.edge, parameters.input_size
        self.first = round((self.edge - self.kept) / 2)  # half to even, as torchvision's CenterCrop
        places, weights = resampling(self.tile, self.edge, parameters.interpolation)
        self.register_buffer("places", places, persistent=False)
        self.register_buffer("weights", weights, persistent=False)
        self.register_buffer("mean", torch.tensor(parameters.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(parameters.std).view(1, 3, 1, 1), persistent=False)

    def forward(self, tiles: Tensor) -> Tensor:
        """float32 [n, 3, input_size, input_size], channels last in memory, of uint8 [n, tile_size, tile_size, 3].

        Raises:
            PathomixError: Tiles of another size: they would be of another scale.
        """
        if tiles.dtype != torch.uint8 or tiles.shape[1:] != (self.tile, self.tile, 3):
            raise PathomixError(
                f"tiles are {tiles.dtype} {list(tiles.shape)}, not uint8 [n, {self.tile}, {self.tile}, 3]",
                remedy="cut tiles with the tiling of this encoder",
            )
        # permuting a contiguous [n, h, w, c] array is the channels-last layout already
        images = tiles.permute(0, 3, 1, 2)
        if self.edge != self.tile:
            together = _TOGETHER.get(tiles.device.type, _TOGETHER_ELSEWHERE)
            images = torch.cat([self._resized(part) for part in torch.split(images, together)])
        cut = slice(self.first, self.first + self.kept)
        images = images[:, :, cut, cut].float().div_(255).sub_(self.mean).div_(self.std)
        return images.contiguous(memory_format=torch.channels_last)

    def _resized(self, images: Tensor) -> Tensor:
        """Along x, then along y; whole grey levels after each."""
        turned = images.mT.to(torch.int32, memory_format=torch.contiguous_format)
        along_x = resampled(turned, self.places, self.weights)
        return resampled(along_x.mT.contiguous(), self.places, self.weights)


def resampled(images: Tensor, places: Tensor, weights: Tensor) -> Tensor:
    """Grey levels int32 [n, c, h, w], h resized by what `resampling` gives."""
    count, channels, _, width = images.shape
    half = 2 ** (_BITS - 1)
    sums = torch.full((count, channels, places.shape[1], width), half, dtype=torch.int32, device=images.device)
    for place, weight in zip(places, weights, strict=True):
        sums.addcmul_(images.index_select(2, place), weight[:, None])
    return sums.bitwise_right_shift_(_BITS).clamp_(0, 255)


def resampling(inputs: int, outputs: int, interpolation: str) -> tuple[Tensor, Tensor]:
    """What Pillow adds up to resize one axis.

    A pixel of the result is the mean of the pixels around its place, weighted by a triangle (``bilinear``) or by the
    cubic of Keys with a = -1/2 (``bicubic``), which is widened when the image shrinks.

    Args:
        inputs: Pixels before.
        outputs: Pixels after.
        interpolation: ``bilinear`` or ``bicubic``.

    Returns:
        Places int64 [pixels in a mean, outputs], and their weights times 2^22, int32 of the same shape.
    """
    step = inputs / outputs
    widened = max(step, 1.0)
    reach = widened * (1.0 if interpolation == "bilinear" else 2.0)
    centre = (torch.arange(outputs, dtype=torch.float64) + 0.5) * step
    first = (centre - reach + 0.5).floor().clamp(min=0)
    end = (centre + reach + 0.5).floor().clamp(max=inputs)
    place = first + torch.arange(int((end - first).max()), dtype=torch.float64)[:, None]
    weight = _filter(((place + 0.5 - centre) / widened).abs(), interpolation) * (place < end)
    weight = weight / weight.sum(dim=0) * 2.0**_BITS
    rounded = (weight.abs() + 0.5).floor() * weight.sign()
    return place.clamp(max=inputs - 1).long(), rounded.int()


def _filter(distance: Tensor, interpolation: str) -> Tensor:
    if interpolation == "bilinear":
        return (1 - distance).clamp(min=0)
    near = (1.5 * distance - 2.5) * distance.square() + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return torch.where(distance < 1, near, torch.where(distance < 2, far, torch.zeros_like(distance)))
