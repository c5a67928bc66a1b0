from __future__ import annotations

import pytest
import torch

from pathomix.nn.vgg import VGGEncoder


@pytest.fixture(scope="module")
def encoder() -> VGGEncoder:
    torch.manual_seed(0)
    return VGGEncoder(width=16, dropout=0.0)


def test_features_of_any_size_and_parameters_of_the_published_network(encoder: VGGEncoder) -> None:
    with torch.no_grad():
        assert encoder(torch.randn(2, 3, 32, 32)).shape == encoder(torch.randn(2, 3, 64, 64)).shape == (2, 16)
    # torchvision's published count of vgg19_bn is 143,678,248, of which its classifier has 123,642,856.
    assert sum(p.numel() for p in encoder.features.parameters()) == 143_678_248 - 123_642_856
    assert [layer.in_features for layer in encoder.perceptron if isinstance(layer, torch.nn.Linear)] == [25088, 16]


def test_convolutions_stay_frozen_in_training(encoder: VGGEncoder) -> None:
    before = {name: value.clone() for name, value in encoder.features.state_dict().items()}
    encoder.train()
    encoder(torch.randn(4, 3, 32, 32)).square().sum().backward()
    assert all(torch.equal(value, before[name]) for name, value in encoder.features.state_dict().items())
    assert all(p.grad is None for p in encoder.features.parameters())
    assert all(float(p.grad.abs().sum()) > 0 for p in encoder.perceptron.parameters())
    assert encoder.perceptron.training and not encoder.features.training
