"""The two branches of Path-GPTomic and its additive Cox head (Path-GPTomic sections 1 and 4.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from pathomix.nn.pathomic_fusion import rectified
from pathomix.nn.snn import init_max, self_normalising_block

HeadOutput = Literal["linear", "sigmoid6"]


class Scores(NamedTuple):
    """What the head says of n patients.

    Attributes:
        log_hazard: theta [n].
        genomic: u^G [n]; None where the head is not additive or the branch is absent.
        image: u^P [n]; None likewise.
    """

    log_hazard: Tensor
    genomic: Tensor | None
    image: Tensor | None


def split_scores(weight: Tensor, bias: Tensor | None, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Scores of two modalities under one linear head, half of the bias each; their sum is the head's output.

    Args:
        weight: [k, a + b], weights of the concatenated features.
        bias: [k], or None.
        first: Features [n, a].
        second: Features [n, b].

    Returns:
        [n, k] each.
    """
    half = None if bias is None else bias / 2
    width = first.shape[1]
    return linear(first, weight[:, :width], half), linear(second, weight[:, width:], half)


def three_layers(inputs: int, hidden: int, outputs: int, dropout: float) -> nn.Sequential:
    """Linear-ReLU-Dropout twice and a linear layer: MLP-A and MLP-B (section 1.1)."""
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.ReLU(), nn.Dropout(dropout),
        nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(dropout),
        nn.Linear(hidden, outputs),
    )  # fmt: skip


@dataclass(frozen=True)
class GenomicSizes:
    """Widths and dropout of the genomic branch.

    Attributes:
        snn: Widths of the self-normalising layers.
        mlp_a: Width of an MLP-A between vectors and MLP-B that is trained with the rest; 0 = vectors go in as they are.
        mlp_b: Hidden width of MLP-B.
        width: Width of G where MLP-B makes it.
        dropout: Of MLP-B, and AlphaDropout of the self-normalising layers.
        mlp_a_dropout: Of MLP-A.
    """

    snn: Sequence[int] = (64, 48, 32, 32)
    mlp_a: int = 0
    mlp_b: int = 128
    width: int = 32
    dropout: float = 0.25
    mlp_a_dropout: float = 0.1


class GenomicBranch(nn.Module):
    """Self-normalising layers on the alterations (G1), joined with embedded expression (G2) by MLP-B.

    Without embedded expression there is nothing to join: G is G1 and there is no MLP-B.

    Args:
        alterations: Features of the self-normalising layers; 0 = none.
        vectors: Dimensions of the embedded expression; 0 = none.
        sizes: Widths and dropout.
    """

    def __init__(self, alterations: int, vectors: int, sizes: GenomicSizes) -> None:
        super().__init__()
        widths = [alterations, *sizes.snn] if alterations else [0]
        layers = (self_normalising_block(a, b, sizes.dropout) for a, b in pairwise(widths))
        self.snn = nn.Sequential(*layers) if alterations else None
        if self.snn is not None:
            init_max(self.snn)
        embedded = sizes.mlp_a or vectors
        trained = bool(vectors and sizes.mlp_a)
        self.mlp_a = three_layers(vectors, sizes.mlp_a, sizes.mlp_a, sizes.mlp_a_dropout) if trained else None
        joined = widths[-1] + embedded
        self.mlp_b = three_layers(joined, sizes.mlp_b, sizes.width, sizes.dropout) if vectors else None
        self.width = sizes.width if vectors else widths[-1]

    def forward(self, alterations: Tensor, vectors: Tensor) -> Tensor:
        """G [n, width] of alterations [n, p] and embedded expression [n, d]; what the branch lacks is not read."""
        parts = []
        if self.snn is not None:
            parts.append(self.snn(alterations))
        if self.mlp_b is None:
            return parts[0]
        parts.append(vectors if self.mlp_a is None else self.mlp_a(vectors))
        return self.mlp_b(torch.cat(parts, dim=1))


class VectorBranch(nn.Module):
    """P of one vector per patient."""

    def __init__(self, inputs: int, width: int, dropout: float) -> None:
        super().__init__()
        self.projection = rectified(inputs, width, dropout)

    def forward(self, vectors: Tensor) -> Tensor:
        """P [n, width] of vectors [n, inputs]."""
        return self.projection(vectors)


class RegionBranch(nn.Module):
    """P of an image of tissue: an image encoder and a projection.

    Args:
        encoder: From images [n, 3, S, S] to features [n, features].
        features: Their width.
        width: Width of P.
        dropout: Of the projection.
        bf16: Whether the encoder runs under bfloat16 autocast; all that follows is float32.
    """

    def __init__(self, encoder: nn.Module, features: int, width: int, dropout: float, bf16: bool = False) -> None:
        super().__init__()
        self.encoder = encoder
        self.projection = rectified(features, width, dropout)
        self.bf16 = bf16

    def forward(self, images: Tensor) -> Tensor:
        """P [n, width]."""
        with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=self.bf16):
            features = self.encoder(images)
        return self.projection(features.float())


class CoxHead(nn.Module):
    """theta = W^G G + W^P P + b (equation 1), or a linear head on a fusion of G and P that has no such split.

    Args:
        genomic: Width of G; 0 = branch absent.
        image: Width of P; 0 = branch absent.
        bias: Whether there is a b; the partial likelihood does not depend on it.
        output: ``linear``, or ``sigmoid6``: squashed into [-3, 3] (Pathomic Fusion).
        fusion: From (P, G) to features; None = concatenation.
        fused: Width of the fusion's features.
    """

    def __init__(
        self,
        genomic: int,
        image: int,
        bias: bool = False,
        output: HeadOutput = "linear",
        fusion: nn.Module | None = None,
        fused: int = 0,
    ) -> None:
        super().__init__()
        self.fusion = fusion
        self.genomic = genomic
        self.cox = nn.Linear(fused if fusion is not None else genomic + image, 1, bias=bias)
        self.output = output

    def forward(self, genomic: Tensor | None, image: Tensor | None) -> Scores:
        """Scores of features G [n, genomic] and P [n, image]; None for an absent branch."""
        if genomic is None or image is None or self.fusion is not None:
            parts = [part for part in (genomic, image) if part is not None]
            features = parts[0] if self.fusion is None else self.fusion(image, genomic)
            theta = self.cox(features)[:, 0]
            return Scores(self._squashed(theta), *self._alone(theta, genomic, image))
        first, second = (part[:, 0] for part in split_scores(self.cox.weight, self.cox.bias, genomic, image))
        return Scores(self._squashed(first + second), first, second)

    def norms(self) -> tuple[float, float]:
        """Euclidean norms of W^G and W^P; NaN where the head is not additive."""
        if self.fusion is not None:
            return float("nan"), float("nan")
        weight = self.cox.weight.detach()
        return weight[:, : self.genomic].norm().item(), weight[:, self.genomic :].norm().item()

    def _squashed(self, theta: Tensor) -> Tensor:
        return theta if self.output == "linear" else 6.0 * torch.sigmoid(theta) - 3.0

    def _alone(
        self, theta: Tensor, genomic: Tensor | None, image: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None]:
        """The score of a branch that is alone is theta before squashing."""
        if self.fusion is not None:
            return None, None
        return (theta if genomic is not None else None), (theta if image is not None else None)


class PathGPTomicNetwork(nn.Module):
    """Branches and head under one roof.

    Args:
        genomic: None = images alone.
        image: `VectorBranch`, `RegionBranch` or `nn.pathomic_fusion.PooledTiles`; None = genomics alone.
        head: Built for the widths of the branches.
    """

    def __init__(self, genomic: GenomicBranch | None, image: nn.Module | None, head: CoxHead) -> None:
        super().__init__()
        self.genomic, self.image, self.head = genomic, image, head

    def forward(self, alterations: Tensor, vectors: Tensor, *image: Tensor | int) -> Scores:
        """Scores of n patients.

        Args:
            alterations: [n, p].
            vectors: Embedded expression [n, d].
            image: What the image branch is called with; nothing without one.
        """
        return self.head(self.genomic_features(alterations, vectors), self.image_features(*image))

    def genomic_features(self, alterations: Tensor, vectors: Tensor) -> Tensor | None:
        """G [n, width]; None without the branch."""
        return None if self.genomic is None else self.genomic(alterations, vectors)

    def image_features(self, *image: Tensor | int) -> Tensor | None:
        """P [n, width]; None without the branch."""
        return None if self.image is None else self.image(*image)
