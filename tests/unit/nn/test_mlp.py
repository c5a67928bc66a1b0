from __future__ import annotations

import torch

from pathomix.nn.mlp import PlainMLP, SelfNormalisingMLP


def test_plain_layers_are_linear_relu() -> None:
    model = PlainMLP(5, (7, 6), 3).eval()
    rows = torch.randn(4, 5)
    hidden = torch.relu(model.encoder[1][0](torch.relu(model.encoder[0][0](rows))))
    assert torch.allclose(model(rows), model.head(hidden))


def test_self_normalising_layers_are_linear_elu() -> None:
    model = SelfNormalisingMLP(5, (7, 6), 3).eval()
    rows = torch.randn(4, 5)
    elu = torch.nn.functional.elu
    assert torch.allclose(model(rows), model.head(elu(model.encoder[1][0](elu(model.encoder[0][0](rows))))))


def test_dropout_acts_in_training_only() -> None:
    rows = torch.randn(4, 5)
    for model in (PlainMLP(5, (64,), 3, dropout=0.5), SelfNormalisingMLP(5, (64,), 3, dropout=0.5)):
        assert torch.equal(model.eval()(rows), model(rows))
        assert not torch.equal(model.train()(rows), model(rows))
