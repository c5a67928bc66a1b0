"""VGG19 with batch norm under a perceptron: the image network of Pathomic Fusion (Path-GPTomic section 8.2)."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn

_GRID = 7
_CHANNELS = 512


class VGGEncoder(nn.Module):
    """Frozen convolutions, pooled to 7 x 7, and two trained layers.

    The third layer of the published network, to the width of the image vector, is the projection that every image
    encoder of a fusion is followed by.

    Args:
        width: Of both layers (1024).
        dropout: After each.
    """

    def __init__(self, width: int = 1024, dropout: float = 0.25) -> None:
        # Imported here: it brings torch's compiler with it, and every row of Path-GPTomic knows of this network.
        from torchvision.models import vgg19_bn

        super().__init__()
        self.features = vgg19_bn(weights=None).features.requires_grad_(False)
        self.pool = nn.AdaptiveAvgPool2d(_GRID)
        layers: list[nn.Module] = []
        for inputs in (_CHANNELS * _GRID * _GRID, width):
            layers += [nn.Linear(inputs, width), nn.ReLU(), nn.Dropout(dropout)]
        self.perceptron = nn.Sequential(*layers)

    def train(self, mode: bool = True) -> Self:
        """Batch norm of the frozen part keeps its statistics."""
        super().train(mode)
        self.features.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Features [n, width] of images [n, 3, S, S], S at least 32."""
        with torch.no_grad():
            maps = self.pool(self.features(images))
        return self.perceptron(maps.flatten(1))
