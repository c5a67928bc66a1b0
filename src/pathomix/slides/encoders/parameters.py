"""What a tile encoder is, in full. No torch: the plan reads it too."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pathomix.core.errors import PathomixError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_MAPS = ("mean", "mean_std")
_TOKENS = ("cls", "cls_mean")
POOLINGS = ("default", *_TOKENS, *_MAPS)
INTERPOLATIONS = ("bilinear", "bicubic")


@dataclass(frozen=True)
class EncoderParameters:
    """A tile encoder with every default filled in; the fields are the keys of a configuration entry.

    Attributes:
        model: Name in the registry (`registry.ENCODERS`).
        timm: Architecture in timm that is built with `model_args`.
        model_args: Arguments of the constructor; those of an entry are laid over the registered ones.
        weights: Local file in the layout of its authors (safetensors, or a weights-only torch file).
        pretrained: Let timm fetch its own weights instead.
        seed: Seed of random weights instead.
        tile_size: Edge in pixels of the tiles that are cut for it.
        mpp: Their µm per pixel.
        resize: Edge a tile is resized to before its centre of `input_size` is cut out; 0 = `input_size`, no cut.
        input_size: Edge in pixels that the network sees.
        interpolation: ``bilinear`` or ``bicubic``, antialiased; only where the tile is not of that edge already.
        mean: Mean of R, G, B in [0, 1] that is subtracted.
        std: Standard deviation that is divided by.
        pooling: ``default`` (the network's own vector), ``cls`` (normalised class token), ``cls_mean`` (class token,
            then the mean of the patch tokens, register tokens left out), or ``mean`` / ``mean_std`` of each channel
            over the maps of `stages`.
        stages: Feature maps to pool (0 = stem); empty unless `pooling` is ``mean`` or ``mean_std``.
    """

    model: str
    timm: str = ""
    model_args: Mapping[str, Any] = field(default_factory=dict)
    weights: str | None = None
    pretrained: bool = False
    seed: int | None = None
    tile_size: int = 0
    mpp: float = 0.0
    resize: int = 0
    input_size: int = 224
    interpolation: str = "bicubic"
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    pooling: str = "default"
    stages: tuple[int, ...] = ()

    @property
    def edge(self) -> int:
        """Edge in pixels a tile is resized to."""
        return self.resize or self.input_size

    @property
    def transform(self) -> dict[str, Any]:
        """How pixels become the network's input, and its output the features: part of the content key."""
        origin = {"model", "weights", "pretrained", "seed", "tile_size", "mpp", "resize"}
        kept = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in origin}
        return kept | {"model_args": dict(self.model_args), "resize": self.edge}

    def checked(self, name: str) -> EncoderParameters:
        """Itself.

        Raises:
            PathomixError: Values that contradict each other.
        """
        wrong = [*self._wrong_pixels(), *self._wrong_pooling()]
        if sum([self.weights is not None, self.pretrained, self.seed is not None]) > 1:
            wrong.append("weights, pretrained and seed exclude each other")
        if self.seed is not None and (isinstance(self.seed, bool) or not isinstance(self.seed, int)):
            wrong.append("seed is a whole number")
        if wrong:
            raise PathomixError(f"encoder {name}: {'; '.join(wrong)}", remedy=f"correct encoders.{name}")
        return self

    def _wrong_pixels(self) -> list[str]:
        wrong = []
        if self.interpolation not in INTERPOLATIONS:
            wrong.append(f"interpolation is one of {INTERPOLATIONS}")
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            wrong.append("mean and std need three numbers, std above 0")
        if min(self.tile_size, self.input_size) < 1 or not self.mpp > 0:
            wrong.append("tile_size, mpp and input_size must be positive")
        if self.resize and self.resize < self.input_size:
            wrong.append("resize is 0 or at least input_size")
        return wrong

    def _wrong_pooling(self) -> list[str]:
        wrong = []
        if self.pooling not in POOLINGS:
            wrong.append(f"pooling is one of {POOLINGS}")
        if (self.pooling in _MAPS) != bool(self.stages):
            wrong.append("stages need pooling mean or mean_std, and the reverse")
        return wrong
