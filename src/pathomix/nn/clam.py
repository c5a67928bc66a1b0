"""CLAM (Lu et al. 2021): gated attention pooling with instance classifiers. Official parameter names."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pathomix.nn.abmil import GatedAttention
from pathomix.nn.segments import segment_softmax, segment_sum

Branches = Literal["sb", "mb"]


class CLAMOutput(NamedTuple):
    """What a bag gives.

    Attributes:
        logits: [bags, classes].
        attention: Scores before the softmax [branches, t].
        weights: The same after the softmax within each bag.
        features: Pooled embeddings [bags, branches, width].
        hidden: Tile embeddings [t, width].
    """

    logits: Tensor
    attention: Tensor
    weights: Tensor
    features: Tensor
    hidden: Tensor


class Extremes(NamedTuple):
    """Instance logits [k, 2] of the tiles a class looks at most and least, both from the most extreme one on."""

    most: Tensor
    least: Tensor


class CLAM(nn.Module):
    """Tile embedding, attention with one branch (``sb``) or one per class (``mb``), linear heads, instance heads.

    Args:
        input_dim: Tile feature width.
        width: Tile embedding width.
        attention: Width of the attention layer.
        classes: Outputs.
        branches: ``sb`` or ``mb``.
        gated: Whether attention is gated; otherwise tanh alone.
        dropout: Dropout probability.
    """

    def __init__(
        self,
        input_dim: int,
        width: int = 512,
        attention: int = 256,
        classes: int = 2,
        *,
        branches: Branches = "sb",
        gated: bool = True,
        dropout: float = 0.25,
    ) -> None:
        super().__init__()
        self.branches = 1 if branches == "sb" else classes
        scores = (
            GatedAttention(width, attention, dropout, self.branches)
            if gated
            else nn.Sequential(
                nn.Linear(width, attention), nn.Tanh(), nn.Dropout(dropout), nn.Linear(attention, self.branches)
            )
        )
        self.attention_net = nn.Sequential(nn.Linear(input_dim, width), nn.ReLU(), nn.Dropout(dropout), scores)
        self.classifiers = (
            nn.Linear(width, classes)
            if branches == "sb"
            else nn.ModuleList(nn.Linear(width, 1) for _ in range(classes))
        )
        self.instance_classifiers = nn.ModuleList(nn.Linear(width, 2) for _ in range(classes))

    def forward(self, tiles: Tensor, bag: Tensor, bags: int) -> CLAMOutput:
        """Evaluate `bags` bags.

        Args:
            tiles: [t, input_dim], tiles of all bags.
            bag: [t], number 0..bags-1 of each tile's bag; every bag has at least one tile.
            bags: Number of bags.
        """
        hidden = self.attention_net[:3](tiles)
        scores = self.attention_net[3](hidden).reshape(len(hidden), self.branches).T
        weights = torch.stack([segment_softmax(branch, bag, bags) for branch in scores])
        pooled = [segment_sum(w[:, None] * hidden, bag, bags) for w in weights]
        features = torch.stack(pooled, dim=1)
        if isinstance(self.classifiers, nn.Linear):
            logits = self.classifiers(features[:, 0])
        else:
            logits = torch.cat([head(features[:, place]) for place, head in enumerate(self.classifiers)], dim=1)
        return CLAMOutput(logits, scores, weights, features, hidden)

    def extremes(self, hidden: Tensor, weights: Tensor, k: int) -> list[Extremes]:
        """Per class the instance logits of the k tiles with the most and the k with the least attention.

        Args:
            hidden: Tile embeddings of one bag [n, width], n >= k.
            weights: Its attention after the softmax [branches, n].
            k: Tiles at either end; the two ends share tiles where n < 2 k.
        """
        result = []
        for place, head in enumerate(self.instance_classifiers):
            own = weights[min(place, len(weights) - 1)]
            most, least = own.topk(k).indices, (-own).topk(k).indices
            logits = head(hidden[torch.cat([most, least])])
            result.append(Extremes(logits[:k], logits[k:]))
        return result

    def instance_losses(self, output: CLAMOutput, sizes: list[int], k: int) -> tuple[Tensor, Tensor]:
        """Instance loss of every bag and class, for bags of that class and for bags of another, [bags, classes] each.

        In a bag of the class the most attended tiles are positive and the least attended ones negative; in a bag of
        another class (mutually exclusive classes) the most attended ones are negative. Cross-entropy; a bag with
        fewer than `k` tiles takes part with half of them at either end, one with a single tile has a loss of 0.

        Args:
            output: Of `forward`.
            sizes: Tiles of each bag, in the order of `tiles`.
            k: Tiles at either end.
        """
        inside, outside = [], []
        parts = zip(torch.split(output.hidden, sizes), torch.split(output.weights, sizes, dim=1), strict=True)
        for hidden, weights in parts:
            some = k if len(hidden) >= k else len(hidden) // 2
            if not some:
                inside.append(hidden.new_zeros(len(self.instance_classifiers)))
                outside.append(inside[-1])
                continue
            positive = torch.ones(some, dtype=torch.long, device=hidden.device)
            both, none = torch.cat([positive, torch.zeros_like(positive)]), torch.zeros_like(positive)
            found = self.extremes(hidden, weights, some)
            inside.append(torch.stack([cross_entropy(torch.cat(ends), both) for ends in found]))
            outside.append(torch.stack([cross_entropy(ends.most, none) for ends in found]))
        return torch.stack(inside), torch.stack(outside)


def instance_loss(inside: Tensor, outside: Tensor, label: Tensor, subtyping: bool) -> Tensor:
    """Instance loss [bags] of bags with known class.

    Args:
        inside: Of `CLAM.instance_losses`.
        outside: Of the same.
        label: [bags], class of each bag.
        subtyping: Whether classes exclude each other: mean over all of them; otherwise that of the own class.
    """
    own = inside.gather(1, label[:, None]).squeeze(1)
    if not subtyping:
        return own
    others = outside.sum(dim=1) - outside.gather(1, label[:, None]).squeeze(1)
    return (own + others) / inside.shape[1]
