from __future__ import annotations

import pytest
import torch

from pathomix.nn.mlp import SelfNormalisingMLP
from pathomix.nn.snn import PathomicSNN, init_max


def test_official_parameter_names_and_shapes() -> None:
    state = PathomicSNN(20, (64, 48, 32, 16)).state_dict()
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    assert shapes["encoder.0.0.weight"] == (64, 20)
    assert shapes["encoder.3.0.weight"] == (16, 32)
    assert shapes["classifier.0.weight"] == (1, 16)
    assert state["output_range"].item() == 6.0
    assert state["output_shift"].item() == -3.0


def test_output_activations() -> None:
    inputs = 50 * torch.randn(30, 8, generator=torch.Generator().manual_seed(0))
    plain = PathomicSNN(8, (16, 4), label_dim=3).eval()
    for act, function in {
        "Sigmoid": lambda x: 6 * torch.sigmoid(x) - 3,
        "LSM": lambda x: torch.log_softmax(x, dim=1),
        "Tanh": torch.tanh,
        "ReLU": torch.relu,
    }.items():
        other = PathomicSNN(8, (16, 4), label_dim=3, act=act).eval()  # type: ignore[arg-type]
        other.load_state_dict(plain.state_dict())
        assert torch.allclose(other(inputs)[1], function(plain(inputs)[1]))


def test_initialisation_keeps_unit_variance() -> None:
    torch.manual_seed(0)
    network = SelfNormalisingMLP(200, (256, 256), 1)
    init_max(network)
    assert network.encoder[1][0].weight.std().item() == pytest.approx(256**-0.5, rel=0.05)
    assert (network.head.bias == 0).all()
    features = network.eval().encoder(torch.randn(500, 200))
    assert 0.4 < features.std().item() < 1.5


def test_shapes_of_the_mlp() -> None:
    assert SelfNormalisingMLP(5, (7, 3), 4)(torch.zeros(2, 5)).shape == (2, 4)
