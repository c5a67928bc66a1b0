"""The Gene Mixer: pathway networks, token and channel mixing, compression to few tokens (ModalTune 3.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from pathomix.core.errors import PathomixError
from pathomix.nn.pathway_networks import PathwayNetworks


def initialise_linear(module: nn.Module) -> None:
    """All linear weights below `module` truncated normal with standard deviation 0.02, biases 0 (ModalTune 2.5)."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def initialise_by_fan_in(encoder: GeneMixer) -> None:
    """Weights of a gene encoder redrawn with standard deviation 1 / sqrt(inputs), biases left at 0.

    The released 0.02 fits layers of some thousand inputs. In smaller ones it shrinks every stage, so that gene tokens
    start far below the other tokens they are added to; this keeps their size whatever the widths are.
    """
    encoder.gene_networks.init_max()
    for layer in encoder.modules():
        if isinstance(layer, nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=layer.in_features**-0.5)


class _Mixing(nn.Module):
    """x + MLP(LN(x)); the MLP runs over tokens or over channels, depending on its `dense` layers."""

    def __init__(
        self, channels: int, size: int, hidden: int, dense: Callable[[int, int], nn.Module], dropout: float
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.fn = nn.Sequential(
            dense(size, hidden), nn.GELU(), nn.Dropout(dropout), dense(hidden, size), nn.Dropout(dropout)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens + self.fn(self.norm(tokens))


def _over_tokens(inputs: int, outputs: int) -> nn.Module:
    return nn.Conv1d(inputs, outputs, kernel_size=1)


class GeneMixer(nn.Module):
    """Expression, grouped by pathway, to gene tokens.

    Args:
        sizes: Genes of each pathway.
        width: Width d of the gene tokens.
        latent: Width of pathway networks and mixer.
        depth: Mixer blocks.
        expansion_tokens: Hidden size of token mixing as a multiple of the number of tokens.
        expansion_channels: Hidden size of channel mixing as a multiple of `latent`.
        dropout: In pathway networks (AlphaDropout) and mixer.
        cls_token: A learned token before the pathways, compressed like any other.
        tokens: Gene tokens G after compression.
        classes: Outputs of a head (mean over tokens, norm, linear), for use as a method of its own: classes, or
            intervals of a discrete hazard; None = no head.

    Raises:
        PathomixError: No pathway, or a pathway without genes.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        width: int = 768,
        latent: int = 256,
        depth: int = 3,
        expansion_tokens: float = 0.5,
        expansion_channels: float = 0.5,
        dropout: float = 0.25,
        cls_token: bool = False,
        tokens: int = 64,
        classes: int | None = None,
    ) -> None:
        super().__init__()
        empty = [number for number, size in enumerate(sizes) if size < 1]
        if empty or not len(sizes):
            raise PathomixError("pathways without any gene", offending=empty, remedy="drop them from the gene sets")
        self.inputs, self.tokens, self.width = sum(sizes), tokens, width
        self.gene_networks = PathwayNetworks(sizes, latent, dropout)
        self.cls_token = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, 1, latent), std=0.02)) if cls_token else None
        groups = len(sizes) + int(cls_token)
        token_hidden, channel_hidden = int(groups * expansion_tokens), int(latent * expansion_channels)
        self.mlp_mixer = nn.Sequential(
            *(
                nn.Sequential(
                    _Mixing(latent, groups, token_hidden, _over_tokens, dropout),
                    _Mixing(latent, latent, channel_hidden, nn.Linear, dropout),
                )
                for _ in range(depth)
            ),
            nn.LayerNorm(latent),
            nn.Linear(latent, width),
        )
        self.pathway_compression = nn.Linear(groups, tokens)
        if classes is not None:
            self.final_norm = nn.LayerNorm(width)
            self.classifier = nn.Linear(width, classes)
        initialise_linear(self)

    def forward(self, genes: Tensor) -> Tensor:
        """Gene tokens [B, tokens, width].

        Args:
            genes: [B, sum(sizes)], expression pathway by pathway.

        Raises:
            PathomixError: Another number of expression values.
        """
        if genes.dim() != 2 or genes.shape[1] != self.inputs:
            raise PathomixError(
                f"expression of shape {tuple(genes.shape)} for {self.inputs} memberships of genes in pathways",
                remedy="gather the genes of every pathway, in the order the model was built with",
            )
        tokens = self.gene_networks(genes)
        if self.cls_token is not None:
            tokens = torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], dim=1)
        return self.pathway_compression(self.mlp_mixer(tokens).transpose(1, 2)).transpose(1, 2)

    def logits(self, genes: Tensor) -> Tensor:
        """Head outputs [B, classes]; only of an encoder built with `classes`."""
        return self.classifier(self.final_norm(self(genes).mean(dim=1)))
