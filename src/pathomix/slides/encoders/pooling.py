"""A network's output to one vector per tile."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pathomix.core.errors import PathomixError
from pathomix.slides.encoders.parameters import EncoderParameters


class Pooled(nn.Module):
    """The network followed by its pooling.

    Args:
        network: Of a family.
        parameters: `pooling` and `stages` are read.

    Raises:
        PathomixError: A class token is wanted of a network that has none.
    """

    def __init__(self, network: nn.Module, parameters: EncoderParameters) -> None:
        super().__init__()
        self.network = network
        self.pooling, self.stages = parameters.pooling, list(parameters.stages)
        self.prefix = int(getattr(network, "num_prefix_tokens", 0))  # class and register tokens
        if self.pooling in ("cls", "cls_mean") and not self.prefix:
            raise PathomixError(
                f"pooling {self.pooling}: the network has no class token", remedy="use pooling default or mean"
            )

    def forward(self, images: Tensor) -> Tensor:
        """Vectors [n, dim] of normalised images [n, 3, s, s]."""
        if self.pooling == "default":
            return self.network(images)
        if self.stages:
            return self._maps(images)
        tokens: Tensor = self.network.forward_features(images)  # type: ignore[operator]
        if self.pooling == "cls":
            return tokens[:, 0]
        return torch.cat([tokens[:, 0], tokens[:, self.prefix :].mean(dim=1)], dim=1)

    def _maps(self, images: Tensor) -> Tensor:
        maps = self.network.forward_intermediates(  # type: ignore[operator]
            images, indices=self.stages, intermediates_only=True, stop_early=True
        )
        maps = [feature.float() for feature in maps]
        pooled = [feature.mean(dim=(2, 3)) for feature in maps]
        if self.pooling == "mean_std":
            pooled += [feature.std(dim=(2, 3), correction=0) for feature in maps]
        return torch.cat(pooled, dim=1)
