from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pathomix.nn.attribution import NODES, compression_shares, integrated_gradients
from pathomix.nn.dilated_attention import dilated_attention, mixing_gradient

X = torch.tensor([1.5, -2.0, 0.5])
ZERO = torch.zeros(3)


def test_a_linear_function_gives_weight_times_input() -> None:
    weight = torch.tensor([2.0, -1.0, 0.0])
    found = integrated_gradients(lambda points: points @ weight + 7, X, ZERO)
    assert found.values.tolist() == pytest.approx([3.0, 2.0, 0.0])
    assert (found.start, found.end) == pytest.approx((7.0, 12.0))
    assert found.complete
    assert found.evaluations == 2 * NODES


def test_known_integrals_from_another_baseline() -> None:
    # Along the straight path d/dx of x y integrates to (x - x0)(y + y0)/2, of z^3 to z^3 - z0^3.
    baseline = torch.tensor([0.5, 1.0, -1.0])
    found = integrated_gradients(lambda p: p[:, 0] * p[:, 1] + p[:, 2] ** 3, X, baseline)
    assert found.values.tolist() == pytest.approx([1.0 * -1.0 / 2, -3.0 * 2.0 / 2, 0.125 + 1.0], abs=1e-6)
    assert abs(found.gap) < 1e-6


def test_a_sharp_bend_is_found_and_a_budget_too_small_is_told() -> None:
    def bend(points: Tensor) -> Tensor:
        return torch.tanh(300 * points[:, 0]) + 0.1 * points[:, 1]

    found = integrated_gradients(bend, X, ZERO, tolerance=1e-3)
    assert found.complete
    assert 2 * NODES < found.evaluations < 512
    assert found.values.tolist() == pytest.approx([1.0, -0.2, 0.0], abs=2e-3)
    poor = integrated_gradients(bend, X, ZERO, tolerance=1e-3, evaluations=3 * NODES)
    assert not poor.complete
    assert poor.evaluations == 2 * NODES
    assert abs(poor.gap) > 0.1


def test_errors_of_opposite_sign_do_not_pass_for_completeness() -> None:
    # Two bends that cancel in the sum: end and start are equal, each half of the path is wrong.
    def bends(points: Tensor) -> Tensor:
        return torch.tanh(400 * (points[:, 0] - 0.2)) - torch.tanh(400 * (points[:, 0] - 1.3)) + points[:, 1]

    found = integrated_gradients(bends, X, ZERO, tolerance=1e-3)
    assert found.complete
    assert found.evaluations > 4 * NODES
    assert found.values.tolist() == pytest.approx([0.0, -2.0, 0.0], abs=5e-3)


def test_a_gradient_that_is_not_the_derivative_is_told() -> None:
    found = integrated_gradients(lambda p: p[:, 0] ** 2 * p[:, 1].detach(), X, ZERO, evaluations=64)
    assert not found.complete


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 1000))
def test_completeness_of_random_networks_whatever_the_points_per_call(seed: int) -> None:
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(6, 9), nn.ELU(), nn.LayerNorm(9), nn.Linear(9, 1))
    inputs = 3 * torch.randn(6)
    one, other = (
        integrated_gradients(lambda p: network(p)[:, 0], inputs, torch.zeros(6), tolerance=1e-4, at_once=size)
        for size in (NODES, 3)
    )
    with torch.no_grad():
        change = float(network(inputs) - network(torch.zeros(6)))
    assert one.complete
    assert float(one.values.sum()) == pytest.approx(change, abs=one.allowed + 1e-6)
    assert one.values.tolist() == pytest.approx(other.values.tolist(), abs=1e-5)


def test_shares_of_a_compression() -> None:
    shares = compression_shares(torch.tensor([[1.0, -3.0, 0.0], [0.0, 0.0, 0.0]]))
    assert shares.tolist() == [[0.25, 0.75, 0.0], [0.0, 0.0, 0.0]]


def test_dilated_attention_has_its_derivative_only_where_mixing_carries_gradient() -> None:
    torch.manual_seed(0)
    inputs = [torch.randn(1, 13, 4, 3, dtype=torch.float64, requires_grad=True) for _ in range(3)]

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return dilated_attention(q, k, v, [5, 8, 40], [1, 2, 3])

    plain = attend(*inputs)
    with mixing_gradient():
        assert torch.autograd.gradcheck(attend, inputs, fast_mode=True)
        assert torch.allclose(attend(*inputs), plain, atol=1e-12)
    assert not torch.autograd.gradcheck(attend, inputs, fast_mode=True, raise_exception=False)
