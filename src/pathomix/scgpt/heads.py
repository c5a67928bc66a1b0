"""scGPT's output heads and pretraining objectives, under their official parameter names (spec scgpt 3.1)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _ExpressionDecoder(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc = nn.Sequential(
            nn.Linear(width, width), nn.LeakyReLU(), nn.Linear(width, width), nn.LeakyReLU(), nn.Linear(width, 1)
        )


class _CellDecoder(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.gene2query = nn.Linear(width, width)
        self.W = nn.Linear(width, width, bias=False)


class _Classifier(nn.Module):
    def __init__(self, width: int, classes: int, layers: int) -> None:
        super().__init__()
        self._decoder = nn.ModuleList()
        for _ in range(layers - 1):
            self._decoder.extend([nn.Linear(width, width), nn.ReLU(), nn.LayerNorm(width)])
        self.out_layer = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        for module in self._decoder:
            x = module(x)
        return self.out_layer(x)


class Heads(nn.Module):
    """What reads expression and class off the encoder's states.

    Args:
        width: Of the states.
        classes: Outputs of the classifier; None builds none, as in the released pretraining files.
        classifier_layers: Its linear layers.
    """

    def __init__(self, width: int, classes: int | None = None, classifier_layers: int = 3) -> None:
        super().__init__()
        self.decoder = _ExpressionDecoder(width)
        self.mvc_decoder = _CellDecoder(width)
        if classes is not None:
            self.cls_decoder = _Classifier(width, classes, classifier_layers)

    def expression(self, states: Tensor) -> Tensor:
        """Expression [B, L] predicted from each position's state [B, L, width]."""
        return self.decoder.fc(states).squeeze(-1)

    def expression_by_cell(self, cells: Tensor, genes: Tensor) -> Tensor:
        """Expression [B, L] predicted from cell embeddings [B, width] and the encoder's gene terms [B, L, width]."""
        queries = torch.sigmoid(self.mvc_decoder.gene2query(genes))
        return torch.einsum("bld,bd->bl", self.mvc_decoder.W(queries), cells)

    def classes(self, cells: Tensor) -> Tensor:
        """Class logits [B, classes] of cell embeddings [B, width]."""
        return self.cls_decoder(cells)


def elastic_similarity_loss(cells: Tensor, threshold: float = 0.3) -> Tensor:
    """Elastic cell similarity: cosine similarities of different cells [B, width] are pushed away from a threshold.

    The reference sets the diagonal to zero and keeps it in the mean, and raises negative similarities to zero.
    """
    unit = F.normalize(cells, dim=1)
    similarity = (unit @ unit.T).fill_diagonal_(0.0).clamp(min=0.0)
    return (1.0 - (similarity - threshold) ** 2).mean()


def contrastive_cell_loss(first: Tensor, second: Tensor, temperature: float = 0.5) -> Tensor:
    """Cross-entropy of finding each cell of `first` [B, width] in `second`, another pass over the same cells."""
    similarity = F.normalize(first, dim=1) @ F.normalize(second, dim=1).T / temperature
    return F.cross_entropy(similarity, torch.arange(len(first), device=first.device))
