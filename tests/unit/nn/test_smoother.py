from __future__ import annotations

import pytest
import torch
from torch import nn

from pathomix.nn.smoother import Smoother


@pytest.mark.parametrize("activation", ["relu", "gelu", "elu"])
def test_layers_by_hand(activation: str) -> None:
    torch.manual_seed(0)
    model = Smoother(512, 17, activation=activation).eval()
    x = torch.randn(6, 512)
    act = {"relu": torch.relu, "gelu": nn.functional.gelu, "elu": nn.functional.elu}[activation]
    layers = [layer for layer in model.mlp if isinstance(layer, nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in layers] == [(512, 128), (128, 128), (128, 128)]
    hidden = act(layers[1](act(layers[0](x))))
    smoothed, outputs = model(x)
    torch.testing.assert_close(smoothed, layers[2](hidden))
    torch.testing.assert_close(outputs, smoothed @ model.head.weight.T + model.head.bias)
    assert outputs.shape == (6, 17)


def test_dropout_is_on_in_training_alone() -> None:
    torch.manual_seed(0)
    model, x = Smoother(20, 3, dropout=0.5), torch.randn(4, 20)
    assert not torch.equal(model(x)[0], model(x)[0])
    model.eval()
    assert torch.equal(model(x)[0], model(x)[0])


def test_standardising_takes_scale_and_shift_out() -> None:
    torch.manual_seed(0)
    model, x = Smoother(5, 2).eval(), torch.randn(300, 5)
    shifted = x * torch.tensor([1.0, 1e-3, 50.0, 2.0, 0.0]) + 0.3
    model.standardise(shifted)
    z = (shifted - model.mean) / model.scale
    torch.testing.assert_close(z[:, :4].std(dim=0, correction=0), torch.ones(4), atol=1e-3, rtol=0)
    torch.testing.assert_close(z.mean(dim=0), torch.zeros(5), atol=1e-3, rtol=0)
    assert torch.isfinite(z).all(), "a dimension without variance is only centred"
    assert set(model.state_dict()) >= {"mean", "scale"}
    assert not {"mean", "scale"} & {name for name, _ in model.named_parameters()}
