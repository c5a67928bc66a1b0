from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, kl_divergence
from torch.nn.functional import normalize

from pathomix.core.errors import PathomixError
from pathomix.losses.text_alignment import text_alignment_loss, unit_targets


def pair(seed: int, shape: tuple[int, ...] = (2, 3, 256)) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator), unit_targets(torch.randn(shape, generator=generator))


@pytest.mark.parametrize("temperature", [0.05, 1.0, 3.0])
def test_softmax_form_is_the_divergence_of_categorical_distributions(temperature: float) -> None:
    z, y = pair(0)
    theirs = Categorical(logits=y.double() / temperature)
    ours = Categorical(logits=normalize(z.double(), dim=-1) / temperature)
    expected = 10 * temperature**2 * kl_divergence(theirs, ours)
    loss = text_alignment_loss(z, y, temperature)
    assert torch.allclose(loss.by_task.double(), expected.mean(dim=0), rtol=1e-4)
    assert float(loss.total) == pytest.approx(float(expected.mean(dim=0).sum()), rel=1e-4)


@pytest.mark.parametrize("temperature", [0.05, 1.0])
def test_sigmoid_form_is_the_sum_of_bernoulli_divergences(temperature: float) -> None:
    z, y = pair(1)
    theirs = Bernoulli(logits=y.double() / temperature)
    ours = Bernoulli(logits=normalize(z.double(), dim=-1) / temperature)
    expected = 10 * temperature**2 * kl_divergence(theirs, ours).sum(dim=-1)
    loss = text_alignment_loss(z, y, temperature, "sigmoid")
    assert torch.allclose(loss.by_task.double(), expected.mean(dim=0), rtol=1e-4)


@given(seed=st.integers(0, 10_000), length=st.floats(0.01, 100), normaliser=st.sampled_from(["softmax", "sigmoid"]))
@settings(max_examples=30, deadline=None)
def test_zero_if_and_only_if_the_directions_agree(seed: int, length: float, normaliser: str) -> None:
    z, y = pair(seed, (3, 32))
    assert float(text_alignment_loss(y * length, y, normaliser=normaliser).total) == pytest.approx(0, abs=1e-5)
    assert float(text_alignment_loss(z, y, normaliser=normaliser).total) > 1e-3


@pytest.mark.parametrize("seed", range(5))
def test_quadratic_approximation_within_a_percent(seed: int) -> None:
    """Spec 9.6, test 4: (10 / 2D) sum of squares of the centred differences of unit vectors."""
    z, y = pair(seed)
    difference = y - normalize(z, dim=-1)
    centred = difference - difference.mean(dim=-1, keepdim=True)
    approximation = 10 / (2 * 256) * centred.square().sum(dim=(1, 2)).mean()
    assert float(text_alignment_loss(z, y).total) == pytest.approx(float(approximation), rel=0.01)


def test_cases_are_averaged_and_tasks_summed() -> None:
    z, y = pair(2)
    single = [text_alignment_loss(z[case], y[case]).total for case in range(2)]
    assert float(text_alignment_loss(z, y).total) == pytest.approx(float(sum(single)) / 2, rel=1e-5)


def test_gradient_reaches_the_embeddings_only() -> None:
    z, y = pair(3)
    y = y.requires_grad_()
    text_alignment_loss(z.requires_grad_(), y).total.backward()
    assert z.grad is not None and float(z.grad.abs().max()) > 0 and y.grad is None


def test_centring_removes_what_all_cases_share() -> None:
    generator = torch.Generator().manual_seed(0)
    common, own = torch.randn(1, 3, 64, generator=generator), torch.randn(50, 3, 64, generator=generator)
    projected = common + 0.1 * own
    plain = unit_targets(projected)
    centred = unit_targets(projected, plain.mean(dim=0))

    def likeness(y: Tensor) -> float:
        return float((y[:25] * y[25:]).sum(dim=-1).mean())

    assert likeness(plain) > 0.9 and abs(likeness(centred)) < 0.1
    assert torch.allclose(centred.norm(dim=-1), torch.ones(50, 3), atol=1e-5)


def test_identical_texts_do_not_become_noise_by_centring() -> None:
    projected = torch.randn(1, 1, 64).expand(20, 1, 64) * torch.linspace(0.5, 2, 20)[:, None, None]
    plain = unit_targets(projected)
    assert float(unit_targets(projected, plain.mean(dim=0)).abs().max()) < 1e-2


def test_unusable_inputs_are_refused() -> None:
    z, y = pair(4)
    with pytest.raises(PathomixError, match=r"\(2, 3, 256\), targets of shape \(2, 3, 128\)"):
        text_alignment_loss(z, y[..., :128])
    with pytest.raises(PathomixError, match="temperature 0"):
        text_alignment_loss(z, y, 0.0)
    with pytest.raises(PathomixError, match="normaliser tanh"):
        text_alignment_loss(z, y, 1.0, "tanh")
