from __future__ import annotations

import pytest
import torch

from pathomix.nn.abmil import ABMIL


@pytest.fixture
def bags() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(count, 10, generator=generator) for count in (1, 7, 30)]


def together(bags: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor, int]:
    sizes = torch.tensor([len(bag) for bag in bags])
    return torch.cat(bags), torch.repeat_interleave(torch.arange(len(bags)), sizes), len(bags)


@pytest.mark.parametrize("omic_dim", [0, 6])
def test_a_bag_does_not_depend_on_its_batch_mates(bags: list[torch.Tensor], omic_dim: int) -> None:
    model = ABMIL(10, 16, 8, 8, classes=3, omic_dim=omic_dim, omic_hidden=8).eval()
    omic = torch.randn(3, omic_dim) if omic_dim else None
    batch = model(*together(bags), omic)
    for i, bag in enumerate(bags):
        alone = model(*together([bag]), omic[i : i + 1] if omic is not None else None)
        assert torch.allclose(alone.logits[0], batch.logits[i], atol=1e-6)


def test_pooling_is_the_attention_weighted_mean(bags: list[torch.Tensor]) -> None:
    model = ABMIL(10, 16, 8, 8, classes=2).eval()
    hidden = torch.relu(model.attention_net[0](bags[2]))
    gate = model.attention_net[3]
    scores = gate.attention_c(
        torch.tanh(gate.attention_a[0](hidden)) * torch.sigmoid(gate.attention_b[0](hidden))
    ).squeeze(1)
    pooled = torch.relu(model.rho[0]((scores.softmax(0)[:, None] * hidden).sum(0)))
    output = model(*together([bags[2]]))
    assert torch.allclose(output.attention, scores, atol=1e-6)
    assert torch.allclose(output.logits[0], model.classifier(pooled), atol=1e-6)


def test_the_order_of_tiles_does_not_matter(bags: list[torch.Tensor]) -> None:
    model = ABMIL(10, 16, 8, 8, classes=2).eval()
    assert torch.allclose(model(*together([bags[2]])).logits, model(*together([bags[2].flip(0)])).logits, atol=1e-6)
