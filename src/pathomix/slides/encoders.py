"""Tile encoders built by timm from configuration: seeded random, from a local file, or timm's own weights."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pathomix.core.errors import PathomixError
from pathomix.core.weights import load_strictly, read_state, state_digest
from pathomix.slides.reader import resample

log = logging.getLogger(__name__)

_WRAPPERS = ("state_dict", "model")
_POOLINGS = ("default", "mean", "mean_std")
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class EncoderParameters:
    """What an encoder is.

    Attributes:
        timm: Name of the architecture in timm.
        model_args: Further arguments of timm's constructor.
        pretrained: Fetch timm's own weights.
        weights: Local file (safetensors, or a weights-only torch file) instead.
        seed: Seed of the random weights where neither is given.
        input_size: Edge in pixels that the network sees; tiles of another size are resized.
        resize: Edge a tile is resized to before its centre of `input_size` is cut out; 0 = `input_size`, no cut.
        stages: Feature maps to pool (0 = stem); empty for timm's own pooled output.
        pooling: ``default`` (timm's), or ``mean`` / ``mean_std`` of each channel over the feature maps of `stages`.
        mean: Mean of R, G, B in [0, 1] that is subtracted.
        std: Standard deviation that is divided by.
        batch_size: Tiles per forward pass; does not change the result beyond rounding.
        max_bad_share: A slide with a larger share of unreadable tiles is quarantined.
    """

    timm: str
    model_args: Mapping[str, Any] = field(default_factory=dict)
    pretrained: bool = False
    weights: str | None = None
    seed: int = 0
    input_size: int = 224
    resize: int = 0
    stages: tuple[int, ...] = ()
    pooling: str = "default"
    mean: tuple[float, ...] = _IMAGENET_MEAN
    std: tuple[float, ...] = _IMAGENET_STD
    batch_size: int = 64
    max_bad_share: float = 0.01

    def checked(self, name: str) -> EncoderParameters:
        """Itself.

        Raises:
            PathomixError: Values that contradict each other.
        """
        wrong = []
        if self.pooling not in _POOLINGS:
            wrong.append(f"pooling is one of {_POOLINGS}")
        if (self.pooling == "default") != (not self.stages):
            wrong.append("stages need pooling mean or mean_std, and the reverse")
        if self.pretrained and self.weights:
            wrong.append("pretrained and weights exclude each other")
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            wrong.append("mean and std need three numbers, std above 0")
        if self.input_size < 1 or self.batch_size < 1:
            wrong.append("input_size and batch_size must be positive")
        if self.resize and self.resize < self.input_size:
            wrong.append("resize is 0 or at least input_size")
        if wrong:
            raise PathomixError(f"encoder {name}: {'; '.join(wrong)}", remedy=f"correct encoders.{name}")
        return self


class TileEncoder:
    """A network that turns tiles into feature vectors.

    Args:
        name: Name in the configuration.
        parameters: What it is.

    Attributes:
        dim: Feature width.
        weights_sha256: Digest over names, types, shapes and values of the state dict.

    Raises:
        PathomixError: Unknown architecture, weights that cannot be had or do not fit.
    """

    def __init__(self, name: str, parameters: EncoderParameters) -> None:
        self.name = name
        self.parameters = parameters.checked(name)
        self._model = build_model(name, parameters).eval().requires_grad_(False)
        self._model = self._model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._mean = torch.tensor(parameters.mean).view(1, 3, 1, 1)
        self._std = torch.tensor(parameters.std).view(1, 3, 1, 1)
        self.weights_sha256 = state_digest(self._model.state_dict())
        size = parameters.input_size
        self.dim = int(self.encode(np.zeros((1, size, size, 3), dtype=np.uint8)).shape[1])

    @property
    def transform(self) -> dict[str, Any]:
        """How pixels become the network's input, and its output the features: part of the content key."""
        p = self.parameters
        names = ("timm", "input_size", "stages", "pooling", "mean", "std")
        pixels = {"filter": "area", "resize": p.resize or p.input_size}
        return {name: getattr(p, name) for name in names} | {"model_args": dict(p.model_args)} | pixels

    @property
    def transform_json(self) -> str:
        """`transform` as JSON with sorted keys."""
        return json.dumps(self.transform, sort_keys=True)

    @torch.inference_mode()
    def encode(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Features of tiles.

        Args:
            pixels: uint8 [tiles, size, size, 3].

        Returns:
            float32 [tiles, dim].
        """
        kept = self.parameters.input_size
        edge = self.parameters.resize or kept
        if pixels.shape[1:3] != (edge, edge):
            pixels = np.stack([resample(tile, (edge, edge)) for tile in pixels])
        first = (edge - kept) // 2
        pixels = pixels[:, first : first + kept, first : first + kept]
        # permuting a contiguous [n, h, w, c] array is the channels-last layout already
        batch = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float().div_(255)
        return np.asarray(self._features(batch.sub_(self._mean).div_(self._std)).float().numpy())

    def _features(self, batch: Tensor) -> Tensor:
        if not self.parameters.stages:
            return self._model(batch)
        maps = self._model.forward_intermediates(  # type: ignore[operator]
            batch, indices=list(self.parameters.stages), intermediates_only=True, stop_early=True
        )
        pooled = [feature.mean(dim=(2, 3)) for feature in maps]
        if self.parameters.pooling == "mean_std":
            pooled += [feature.std(dim=(2, 3), correction=0) for feature in maps]
        return torch.cat(pooled, dim=1)


def build_model(name: str, parameters: EncoderParameters) -> nn.Module:
    """The network without classifier, weights in place.

    Raises:
        PathomixError: Unknown architecture, weights that cannot be had or do not fit.
    """
    if parameters.timm not in timm.list_models():
        raise PathomixError(
            f"encoder {name}: timm {timm.__version__} has no model {parameters.timm!r}",
            remedy=f"correct encoders.{name}.timm (python -c 'import timm; print(timm.list_models())')",
        )
    try:
        with torch.random.fork_rng():  # timm draws initial weights from the global generator
            model: nn.Module = timm.create_model(
                parameters.timm, pretrained=parameters.pretrained, num_classes=0, **parameters.model_args
            )
    except Exception as error:  # the hub client raises its own types and those of its transport
        if not parameters.pretrained:
            raise
        raise PathomixError(
            f"encoder {name}: timm's weights of {parameters.timm} cannot be fetched ({type(error).__name__}: {error})",
            remedy=f"run once where the network is, or download them and set encoders.{name}.weights to the file",
        ) from error
    if parameters.weights:
        load_weights(model, Path(parameters.weights))
    elif not parameters.pretrained:
        seed_weights(model, parameters.seed)
    return model


@torch.no_grad()
def seed_weights(model: nn.Module, seed: int) -> None:
    """Random weights that depend on the seed and each tensor's name only, not on timm's own initialisation.

    Kaiming normal for convolutions and linear layers; normalisation layers pass on what they get, those that timm would
    start at zero (residual branches) included, so that every layer takes part.
    """
    for name, tensor in model.named_parameters():
        generator = torch.Generator().manual_seed(int(hashlib.sha256(f"{seed}/{name}".encode()).hexdigest()[:15], 16))
        if tensor.ndim >= 2 and name.endswith("weight"):
            gain = math.sqrt(2 / math.prod(tensor.shape[1:]))
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * gain)
        elif tensor.ndim >= 2:  # class token, position table
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.02)
        else:
            tensor.fill_(1.0 if name.endswith("weight") else 0.0)


def load_weights(model: nn.Module, path: Path) -> None:
    """Load a state dict strictly; only the classifier that the model was built without may be left over.

    Raises:
        PathomixError: The file is missing, is no plain state dict, or does not fit; every mismatch is named.
    """
    state = read_state(path)
    config = getattr(model, "pretrained_cfg", {})
    classifier = config.get("classifier") or ()
    heads = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    own = model.state_dict()
    state = {k: v for k, v in state.items() if k in own or not k.startswith(tuple(f"{head}." for head in heads))}
    load_strictly(model, state, path)
