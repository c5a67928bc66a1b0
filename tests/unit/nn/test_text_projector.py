from __future__ import annotations

import pytest
import torch
from torch import nn

from pathomix.core.errors import PathomixError
from pathomix.nn.text_projector import TextProjector


def test_it_is_linear_norm_relu_linear() -> None:
    projector = TextProjector(6, 4, seed=1)
    for parameter in projector.parameters():
        nn.init.normal_(parameter)
    text = torch.randn(2, 3, 6)
    first, norm, _, last = projector.conv1
    hidden = text @ first.weight[:, :, 0, 0].T + first.bias
    centred = hidden - hidden.mean(dim=-1, keepdim=True)
    scaled = centred / (centred.square().mean(dim=-1, keepdim=True) + norm.eps).sqrt()
    hidden = (scaled * norm.weight[:, 0, 0] + norm.bias[:, 0, 0]).clamp(min=0)
    assert torch.allclose(projector(text), hidden @ last.weight[:, :, 0, 0].T + last.bias, atol=1e-5)


def test_the_seed_decides_and_the_global_stream_stays() -> None:
    before = torch.get_rng_state()
    first, same, other = TextProjector(6, 4, seed=1), TextProjector(6, 4, seed=1), TextProjector(6, 4, seed=2)
    assert torch.equal(before, torch.get_rng_state())
    text = torch.randn(1, 6)
    assert torch.equal(first(text), same(text)) and not torch.equal(first(text), other(text))


def test_it_is_frozen() -> None:
    projector = TextProjector(6, 4)
    assert not any(parameter.requires_grad for parameter in projector.train().parameters())
    assert not projector(torch.randn(2, 6, requires_grad=True)).requires_grad


def test_text_of_another_width_is_refused() -> None:
    with pytest.raises(PathomixError, match="width 768, the projector was built for 512"):
        TextProjector()(torch.randn(4, 768))
