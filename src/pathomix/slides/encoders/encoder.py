"""A tile encoder: tiles in, vectors out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor

from pathomix.core.errors import PathomixError
from pathomix.core.parameters import choice
from pathomix.core.weights import state_digest
from pathomix.slides.encoders.entries import resolve
from pathomix.slides.encoders.loading import build_network, family_of
from pathomix.slides.encoders.parameters import EncoderParameters
from pathomix.slides.encoders.pixels import Pixels
from pathomix.slides.encoders.pooling import Pooled

Precision = Literal["fp32", "bf16", "fp16"]

_HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def build_encoder(name: str, entry: Mapping[str, Any]) -> TileEncoder:
    """The encoder of a configuration entry, on the CPU in float32.

    Args:
        name: Name in the configuration.
        entry: See `entries.resolve`.

    Raises:
        PathomixError: An entry that is refused, or weights that cannot be had or do not fit.
    """
    return TileEncoder(name, resolve(name, entry))


class TileEncoder:
    """A network that turns tiles into feature vectors.

    Args:
        name: Name in the configuration.
        parameters: What it is (`entries.resolve`).

    Attributes:
        dim: Feature width.
        weights_sha256: Digest over names, types, shapes and values of the state dict.
        tile_size: Edge in pixels of its tiles.
        mpp: Their µm per pixel.
        revision: Where the weights come from: file name, ``timm`` or the seed.

    Raises:
        PathomixError: Unknown architecture, weights that cannot be had or do not fit.
    """

    def __init__(self, name: str, parameters: EncoderParameters) -> None:
        self.name = name
        self.parameters = parameters.checked(name)
        try:
            network = build_network(name, parameters).requires_grad_(False)
            network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            self._module = Pooled(network, parameters).eval()
        except PathomixError as error:
            raise PathomixError(
                f"encoder {name}: {error.fact}", remedy=error.remedy, offending=error.offending
            ) from error
        self.weights_sha256 = state_digest(network.state_dict())
        self.tile_size, self.mpp = parameters.tile_size, parameters.mpp
        self._pixels, self._run = Pixels(parameters), cast(Callable[[Tensor], Tensor], self._module)
        self._device = torch.device("cpu")
        self._half: torch.dtype | None = None
        self.dim = self._width()

    @property
    def transform(self) -> dict[str, Any]:
        """How pixels become the network's input, and its output the features: part of the content key."""
        return self.parameters.transform

    @property
    def transform_json(self) -> str:
        """`transform` as JSON with sorted keys."""
        return json.dumps(self.transform, sort_keys=True)

    @property
    def revision(self) -> str:
        """Where the weights come from."""
        parameters = self.parameters
        if parameters.weights is not None:
            return Path(parameters.weights).name
        return "timm" if parameters.pretrained else f"random, seed {parameters.seed}"

    def to(self, device: torch.device | str, precision: Precision, compile: bool = False) -> TileEncoder:
        """Move the encoder, choose its arithmetic, and compile it if wanted; returns itself.

        Args:
            device: Where `encode` gets its tiles.
            precision: ``fp32``, or autocast to ``bf16`` or ``fp16``; weights and features stay float32.
            compile: Compile the network (worth minutes only for many slides).
        """
        choice(precision, get_args(Precision), "precision")
        self._device, self._half = torch.device(device), _HALVES.get(precision)
        self._module.to(self._device)
        self._pixels.to(self._device)
        self._run = torch.compile(self._module) if compile else self._module
        return self

    @torch.inference_mode()
    def encode(self, tiles: Tensor) -> Tensor:
        """Features of tiles.

        Args:
            tiles: uint8 [n, tile_size, tile_size, 3] on the encoder's device.

        Returns:
            float32 [n, dim] on that device.

        Raises:
            PathomixError: Tiles of another size.
        """
        images = self._pixels(tiles)
        with torch.autocast(self._device.type, dtype=self._half, enabled=self._half is not None):
            features = self._run(images)
        return features.float()

    def _width(self) -> int:
        """Width of the features; a giant is asked, not run."""
        if family_of(self.parameters).whole and not self.parameters.stages:
            tokens = int(self._module.network.num_features)  # type: ignore[arg-type]
            return 2 * tokens if self.parameters.pooling == "cls_mean" else tokens
        size = self.tile_size
        return int(self.encode(torch.zeros((1, size, size, 3), dtype=torch.uint8)).shape[1])
