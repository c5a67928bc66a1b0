"""The frozen random projector from text embeddings to targets (ModalTune 4.3), under its official parameter names."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pathomix.core.errors import PathomixError


class TextProjector(nn.Module):
    """Linear, norm over channels, ReLU, linear; written as 1 x 1 convolutions, never trained.

    The targets are only defined together with these weights, so they belong into the saved state of a model (the
    released code loses them).

    Args:
        text_dim: Width of the text embeddings.
        output_dim: Width of the targets.
        seed: Of the weights; torch's stream is left as it was.
    """

    def __init__(self, text_dim: int = 512, output_dim: int = 256, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.conv1 = nn.Sequential(
                nn.Conv2d(text_dim, output_dim, 1),
                nn.LayerNorm([output_dim, 1, 1]),
                nn.ReLU(),
                nn.Conv2d(output_dim, output_dim, 1),
            )
        self.text_dim, self.output_dim = text_dim, output_dim
        self.requires_grad_(False)

    @torch.no_grad()
    def forward(self, text: Tensor) -> Tensor:
        """Targets [..., output_dim], not normalised, of text embeddings [..., text_dim].

        Raises:
            PathomixError: Embeddings of another width.
        """
        if text.shape[-1] != self.text_dim:
            raise PathomixError(
                f"text embeddings have width {text.shape[-1]}, the projector was built for {self.text_dim}",
                remedy="embed the prompts with the text encoder that the model was trained with",
            )
        return self.conv1(text.reshape(-1, self.text_dim, 1, 1)).reshape(*text.shape[:-1], self.output_dim)
