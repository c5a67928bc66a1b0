from __future__ import annotations

import pytest
import torch

from pathomix.nn.deep_sets import DeepSets


@pytest.mark.parametrize("pooling", ["sum", "mean"])
def test_pools_what_it_says_and_keeps_bags_apart(pooling: str) -> None:
    torch.manual_seed(0)
    model = DeepSets(6, 10, 8, 3, pooling=pooling).eval()  # type: ignore[arg-type]
    bags = [torch.randn(count, 6) for count in (1, 5, 12)]
    owner = torch.repeat_interleave(torch.arange(3), torch.tensor([1, 5, 12]))
    together = model(torch.cat(bags), owner, 3)
    for i, bag in enumerate(bags):
        hidden = torch.relu(model.phi[0](bag))
        pooled = hidden.sum(dim=0) if pooling == "sum" else hidden.mean(dim=0)
        expected = model.classifier(torch.relu(model.rho[0](pooled)))
        assert torch.allclose(together[i], expected, atol=1e-5)
        assert torch.allclose(model(bag.flip(0), torch.zeros(len(bag), dtype=torch.long), 1)[0], expected, atol=1e-5)


@pytest.mark.parametrize("fusion", ["concat", "bilinear"])
def test_genes_reach_the_logits(fusion: str) -> None:
    torch.manual_seed(0)
    model = DeepSets(6, 10, 8, 3, omic_dim=4, omic_hidden=16, fusion=fusion, reduction=2).eval()  # type: ignore[arg-type]
    tiles, owner, genes = torch.randn(5, 6), torch.tensor([0, 0, 1, 1, 1]), torch.randn(2, 4)
    logits = model(tiles, owner, 2, genes)
    changed = model(tiles, owner, 2, genes + torch.tensor([[1.0], [0.0]]))
    assert not torch.allclose(changed[0], logits[0], atol=1e-5)
    assert torch.allclose(changed[1], logits[1], atol=1e-6)
