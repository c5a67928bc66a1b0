from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pathomix.core.errors import PathomixError
from pathomix.nn.gene_mixer import GeneMixer
from pathomix.nn.pathway_networks import PathwayNetworks
from pathomix.nn.snn import self_normalising_block

SIZES = (3, 1, 6, 2)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def one_by_one(width: int = 8) -> nn.ModuleList:
    """The networks as separate modules, under the official names."""
    return nn.ModuleList(
        nn.Sequential(self_normalising_block(size, width, 0.0), self_normalising_block(width, width, 0.0))
        for size in SIZES
    )


def test_together_equals_one_by_one_with_gradients() -> None:
    apart, together = one_by_one(), PathwayNetworks(SIZES, 8, dropout=0.0)
    together.load_state_dict(apart.state_dict())
    genes = torch.randn(5, sum(SIZES))
    one, other = genes.clone().requires_grad_(), genes.clone().requires_grad_()
    expected = torch.stack([net(part) for net, part in zip(apart, one.split(SIZES, dim=1), strict=True)], dim=1)
    found = together(other)
    assert torch.allclose(found, expected, atol=1e-6)
    weight = torch.randn_like(found)
    (expected * weight).sum().backward()
    (found * weight).sum().backward()
    assert torch.allclose(other.grad, one.grad, atol=1e-5)
    named = together.official({name: p.grad for name, p in together.named_parameters()})
    assert named.keys() == dict(apart.named_parameters()).keys()
    for name, parameter in apart.named_parameters():
        assert torch.allclose(named[name], parameter.grad, atol=1e-5), name


def test_dropout_acts_in_training_only() -> None:
    networks, genes = PathwayNetworks(SIZES, 8, dropout=0.5), torch.randn(1, sum(SIZES))
    assert not torch.equal(networks(genes), networks(genes))
    networks.eval()
    assert torch.equal(networks(genes), networks(genes))


def test_official_and_own_states_load_alike() -> None:
    model = GeneMixer(SIZES, 16, 8, 1, tokens=3)
    own = model.state_dict()
    start = "gene_networks."
    official = {name: value for name, value in own.items() if not name.startswith(start)}
    stacked = {name.removeprefix(start): value for name, value in own.items() if name.startswith(start)}
    official |= {start + name: value for name, value in model.gene_networks.official(stacked).items()}
    for state in (own, official):
        other = GeneMixer(SIZES, 16, 8, 1, tokens=3)
        other.load_state_dict(state)
        assert all(torch.equal(value, own[name]) for name, value in other.state_dict().items())


def test_every_missing_and_misshapen_official_tensor_is_named() -> None:
    state = dict(one_by_one().state_dict())
    del state["1.1.0.bias"]
    state["2.0.0.weight"] = torch.zeros(8, 5)
    state["4.0.0.weight"] = torch.zeros(8, 5)
    with pytest.raises(RuntimeError) as caught:
        PathwayNetworks(SIZES, 8).load_state_dict(state)
    for named in ("1.1.0.bias", "2.0.0.weight: (8, 5), expected (8, 6)", "4.0.0.weight"):
        assert named in str(caught.value)


def test_a_case_does_not_depend_on_its_batch_mates() -> None:
    model, genes = GeneMixer(SIZES, 16, 8, 2, cls_token=True, tokens=3).eval(), torch.randn(4, sum(SIZES))
    together = model(genes)
    for case in range(4):
        assert torch.allclose(together[case], model(genes[case : case + 1])[0], atol=1e-6)


def test_compression_runs_over_the_pathway_axis() -> None:
    """With mixing silenced, token j is the combination of pathways that row j of the compression says."""
    model = GeneMixer(SIZES, 16, 8, 0, tokens=2).eval()
    genes = torch.randn(1, sum(SIZES))
    wide = model.mlp_mixer(model.gene_networks(genes))
    with torch.no_grad():
        model.pathway_compression.weight.copy_(torch.tensor([[0.0, 1, 0, 0], [0.5, 0, 0, -2]]))
        model.pathway_compression.bias.copy_(torch.tensor([0.0, 3.0]))
    expected = torch.stack([wide[:, 1], 0.5 * wide[:, 0] - 2 * wide[:, 3] + 3], dim=1)
    assert torch.allclose(model(genes), expected, atol=1e-6)


def test_head_averages_normalises_and_classifies() -> None:
    model = GeneMixer(SIZES, 16, 8, 1, tokens=3, classes=2).eval()
    genes = torch.randn(3, sum(SIZES))
    expected = model.classifier(model.final_norm(model(genes).mean(dim=1)))
    assert torch.equal(model.logits(genes), expected) and expected.shape == (3, 2)


def test_parameters_of_the_published_size() -> None:
    """Only the number of pathways and the sum of their sizes count: 331 and 9,731 (spec 2.7, 3.2)."""
    sizes = [9731 - 330 * 29] + [29] * 330
    with torch.device("meta"):
        model = GeneMixer(sizes)
    counts: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        counts[name.split(".")[0]] = counts.get(name.split(".")[0], 0) + parameter.numel()
    assert counts == {"gene_networks": 24_353_024, "mlp_mixer": 727_898, "pathway_compression": 21_248}


def test_initialisation() -> None:
    model = GeneMixer([50] * 40, 64, 32, 1, tokens=8)
    weights: list[Tensor] = [model.gene_networks.weight_in, model.pathway_compression.weight, model.mlp_mixer[2].weight]
    for weight in weights:
        assert float(weight.detach().std()) == pytest.approx(0.02, rel=0.15)
    assert float(model.pathway_compression.bias.detach().abs().max()) == 0.0


def test_unusable_inputs_are_refused() -> None:
    with pytest.raises(PathomixError, match="without any gene: 1"):
        GeneMixer([3, 0, 2])
    with pytest.raises(PathomixError, match=r"\(2, 5\) for 12 memberships"):
        GeneMixer(SIZES, 16, 8, 1)(torch.randn(2, 5))
