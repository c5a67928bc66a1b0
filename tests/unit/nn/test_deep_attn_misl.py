from __future__ import annotations

import torch

from pathomix.nn.deep_attn_misl import DeepAttnMISL


def test_equals_the_definition_bag_by_bag() -> None:
    """Two bags; the second lacks clusters 0 and 2, whose vectors are zero and still attended to."""
    torch.manual_seed(0)
    model = DeepAttnMISL(6, 4, 10, 5, 8, 3).eval()
    tiles = torch.randn(11, 6)
    owner = torch.tensor([0] * 7 + [1] * 4)
    cluster = torch.tensor([0, 1, 2, 3, 3, 1, 0, 3, 1, 1, 3])
    output = model(tiles, cluster, owner, 2)
    for bag in (0, 1):
        means = torch.zeros(4, 10)
        for number in range(4):
            rows = tiles[(owner == bag) & (cluster == number)]
            if len(rows):
                layers = model.phis[number]
                means[number] = torch.relu(layers[3](torch.relu(layers[0](rows)))).mean(dim=0)  # type: ignore[index]
        tokens = torch.relu(model.attention_net[0](means))
        scores = model.attention_net[3](tokens)
        assert torch.allclose(output.attention[bag], scores, atol=1e-5)
        pooled = (torch.softmax(scores, dim=0)[:, None] * tokens).sum(dim=0)
        assert torch.allclose(output.logits[bag], model.classifier(torch.relu(model.rho[0](pooled))), atol=1e-5)
    assert (output.attention[1, 0] - output.attention[1, 2]).abs() < 1e-7


def test_a_cluster_nobody_has_gets_no_gradient() -> None:
    torch.manual_seed(0)
    model = DeepAttnMISL(6, 3, 10, 5, 8, 2)
    model(torch.randn(4, 6), torch.tensor([0, 2, 2, 0]), torch.zeros(4, dtype=torch.long), 1).logits.sum().backward()
    untouched = [p.grad is None or not p.grad.any() for p in model.phis[1].parameters()]
    assert all(untouched)
    assert all(p.grad is not None and bool(p.grad.any()) for p in [model.phis[0][0].weight, model.phis[2][0].weight])  # type: ignore[index]
