"""Gated Kronecker fusion against arithmetic written out."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

from pathomix.core.errors import PathomixError
from pathomix.nn.pathomic_fusion import GatedBilinearFusion, PathomicNet, PooledTiles
from pathomix.nn.snn import PathomicSNN


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def redrawn(model: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.4)
    return model.double().eval()


def written_out(model: GatedBilinearFusion, image: Tensor, omic: Tensor, bilinear: bool) -> Tensor:
    """One patient at a time, indices spelt out."""
    state = model.state_dict()

    def layer(name: str, vector: Tensor) -> Tensor:
        return torch.relu(state[f"{name}.0.weight"] @ vector + state[f"{name}.0.bias"])

    def gate(number: int, v1: Tensor, v2: Tensor) -> Tensor:
        if not bilinear:
            return state[f"linear_z{number}.0.weight"] @ torch.cat([v1, v2]) + state[f"linear_z{number}.0.bias"]
        weight = state[f"linear_z{number}.weight"]
        return torch.stack([v1 @ one @ v2 for one in weight]) + state[f"linear_z{number}.bias"]

    rows = []
    for v1, v2 in zip(image, omic, strict=True):
        gated = []
        for number, vector, on in ((1, v1, model.gate_image), (2, v2, model.gate_omic)):
            if on:
                vector = torch.sigmoid(gate(number, v1, v2)) * layer(f"linear_h{number}", vector)
            gated.append(torch.cat([layer(f"linear_o{number}", vector), torch.ones(1, dtype=torch.float64)]))
        product = torch.stack([a * b for a in gated[0] for b in gated[1]])
        joint = layer("encoder1", product)
        if model.skip:
            joint = torch.cat([joint, *gated])
        rows.append(layer("encoder2", joint))
    return torch.stack(rows)


@pytest.mark.parametrize(
    ("gate_image", "gate_omic", "skip", "bilinear"), list(itertools.product([True, False], repeat=4))
)
@pytest.mark.parametrize("scales", [(1, 1), (2, 3)])
def test_written_out(gate_image: bool, gate_omic: bool, skip: bool, bilinear: bool, scales: tuple[int, int]) -> None:
    model = redrawn(
        GatedBilinearFusion(
            8, 6, hidden=5, out=4, scale_image=scales[0], scale_omic=scales[1], gate_image=gate_image,
            gate_omic=gate_omic, skip=skip, bilinear=bilinear,
        )
    )  # fmt: skip
    image, omic = normal(3, 8), normal(3, 6, seed=1)
    assert model(image, omic).shape == (3, 4)
    assert torch.allclose(model(image, omic), written_out(model, image, omic, bilinear), atol=1e-12)
    assert any("linear_z1" in name for name in model.state_dict()) == gate_image
    assert any("linear_z2" in name for name in model.state_dict()) == gate_omic


def test_a_gate_lets_the_other_modality_in() -> None:
    image, omic, other = normal(3, 8), normal(3, 6, seed=1), normal(3, 6, seed=2)
    for gate in (True, False):
        model = redrawn(GatedBilinearFusion(8, 6, gate_image=gate, gate_omic=False))
        first, second = (model.gated(image, vector)[0] for vector in (omic, other))
        assert torch.equal(first, second) != gate


def test_published_sizes() -> None:
    shapes = {name: tuple(v.shape) for name, v in GatedBilinearFusion(32, 32, skip=True).state_dict().items()}
    assert shapes["encoder1.0.weight"] == (64, 1089)
    assert shapes["encoder2.0.weight"] == (64, 64 + 66)
    assert shapes["linear_z1.weight"] == (32, 32, 32)


def test_initialisation() -> None:
    torch.manual_seed(0)
    model = GatedBilinearFusion(32, 32)
    assert model.encoder1[0].weight.std().item() == pytest.approx(1089**-0.5, rel=0.05)
    assert (model.encoder1[0].bias == 0).all()
    # torch's bilinear form: uniform within 1 / sqrt(width of the first vector)
    assert model.linear_z1.weight.abs().max().item() == pytest.approx(32**-0.5, rel=0.01)
    assert model.linear_z1.bias.abs().max() > 0


@pytest.mark.parametrize("scales", [(0, 1), (1, 7)])
def test_scales_that_leave_nothing(scales: tuple[int, int]) -> None:
    with pytest.raises(PathomixError, match=f"scales {scales[0]} and {scales[1]}"):
        GatedBilinearFusion(8, 6, scale_image=scales[0], scale_omic=scales[1])


def test_network_is_head_of_fusion_of_omic_features() -> None:
    omic_net = PathomicSNN(9, (7, 6))
    model = redrawn(PathomicNet(omic_net, GatedBilinearFusion(8, 6, hidden=5, out=4)))
    with torch.no_grad():
        model.output_range.fill_(6.0)
        model.output_shift.fill_(-3.0)
    image, omic = 20 * normal(30, 8), 20 * normal(30, 9, seed=1)
    features, hazard = model(image, omic)
    assert torch.equal(features, model.fusion(image, omic_net(omic)[0]))
    expected = 6 * torch.sigmoid(features @ model.classifier[0].weight.mT + model.classifier[0].bias) - 3
    assert torch.allclose(hazard, expected)
    assert {"omic_net.encoder.0.0.weight", "fusion.encoder2.0.bias", "classifier.0.weight", "output_range"} <= set(
        model.state_dict()
    )
    with torch.no_grad():
        omic_net.classifier[0].weight.mul_(3)
        assert torch.equal(model(image, omic)[1], hazard)


def test_pooled_tiles_of_one_bag_at_a_time() -> None:
    model = redrawn(PooledTiles(6, 4, width=5, attention=3))
    bags = [normal(n, 6, seed=n) for n in (1, 4, 9)]
    number = torch.repeat_interleave(torch.arange(3), torch.tensor([1, 4, 9]))
    together = model(torch.cat(bags), number, 3)
    assert together.shape == (3, 4)
    for row, bag in enumerate(bags):
        turned = bag.flip(0)
        weights = torch.softmax(model.attention(model.embedding(turned)), dim=0)
        expected = model.projection(weights @ model.embedding(turned))
        assert torch.allclose(together[row], expected, atol=1e-12)
