from __future__ import annotations

import torch
from torch import Tensor, nn

from pathomix.nn.backbone import Tokens
from pathomix.nn.tuned_encoder import TunedEncoder


class Toy(nn.Module):
    """A backbone whose blocks are linear layers."""

    width, depth = 6, 3

    def __init__(self) -> None:
        super().__init__()
        self.front = nn.Linear(4, 6)
        self.blocks = nn.ModuleList(nn.Linear(6, 6) for _ in range(3))
        self.requires_grad_(False)

    def prepare(self, features: Tensor, coords: Tensor) -> Tokens:
        tiles = self.front(features) + coords.sum(dim=2, keepdim=True)
        return Tokens(tiles.mean(dim=1, keepdim=True), tiles, coords)

    def run_blocks(self, tokens: Tokens, first: int, last: int) -> Tokens:
        for block in list(self.blocks)[first : last + 1]:
            tokens = Tokens(torch.tanh(block(tokens.cls)), torch.tanh(block(tokens.tiles)), tokens.cells)
        return tokens

    def image_vector(self, tokens: Tokens, pooling: str) -> Tensor:
        return tokens.cls[:, 0] if pooling == "cls" else tokens.tiles.mean(dim=1)


def test_every_weight_of_a_frozen_encoder_is_trained() -> None:
    torch.manual_seed(0)
    model = TunedEncoder(Toy(), 3, omic_dim=5, omic_hidden=8)
    logits = model(torch.randn(2, 7, 4), torch.zeros(2, 7, 2), torch.randn(2, 5))
    assert logits.shape == (2, 3)
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_the_head_reads_the_pooling_asked_for() -> None:
    torch.manual_seed(0)
    features, coords = torch.randn(1, 7, 4), torch.randint(0, 3, (1, 7, 2))
    toy = Toy()
    tokens = toy.run_blocks(toy.prepare(features, coords), 0, 2)
    for pooling in ("cls", "mean"):
        model = TunedEncoder(toy, 3, pooling)
        assert torch.allclose(model(features, coords), model.head(toy.image_vector(tokens, pooling)))
    assert not torch.allclose(
        TunedEncoder(toy, 3, "cls")(features, coords), TunedEncoder(toy, 3, "mean")(features, coords)
    )
