from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pathomix.core.errors import PathomixError
from pathomix.losses.ranking import ranking_loss
from pathomix.survival.concordance import harrell_c

OUTCOMES = st.lists(
    st.tuples(st.floats(-5, 5), st.integers(1, 6), st.booleans()), min_size=2, max_size=12
)  # tied times on purpose


@settings(max_examples=60, deadline=None)
@given(OUTCOMES, st.sampled_from(["relu", "sigmoid"]))
def test_equals_the_loop_over_pairs(rows: list[tuple[float, int, bool]], shape: str) -> None:
    theta, time, event = (torch.tensor(column, dtype=torch.float64) for column in zip(*rows, strict=True))
    terms = [
        (theta[i] - theta[j]).clamp(min=0) if shape == "relu" else torch.sigmoid(theta[i] - theta[j])
        for i in range(len(rows))
        for j in range(len(rows))
        if event[i] and time[j] > time[i]
    ]
    expected = -torch.stack(terms).mean().item() if terms else 0.0
    assert ranking_loss(theta, time, event, shape).item() == pytest.approx(expected, abs=1e-12)  # type: ignore[arg-type]


def test_steep_sigmoid_is_the_concordance() -> None:
    generator = torch.Generator().manual_seed(0)
    theta, time = (torch.randn(40, generator=generator).double() for _ in range(2))
    event = torch.rand(40, generator=generator) < 0.6
    concordance = harrell_c(time.numpy(), event.numpy(), theta.numpy())
    assert -ranking_loss(1e6 * theta, time, event).item() == pytest.approx(concordance, abs=1e-9)


def test_without_comparable_pairs_the_loss_is_zero_with_a_gradient() -> None:
    theta = torch.randn(3, requires_grad=True)
    loss = ranking_loss(theta, torch.ones(3), torch.ones(3))
    loss.backward()
    assert loss.item() == 0.0
    assert theta.grad is not None and theta.grad.tolist() == [0.0, 0.0, 0.0]


def test_refuses_what_does_not_fit() -> None:
    with pytest.raises(PathomixError, match="unknown ranking loss hinge"):
        ranking_loss(torch.zeros(2), torch.ones(2), torch.ones(2), "hinge")  # type: ignore[arg-type]
    with pytest.raises(PathomixError, match="3 log hazards, 2 times, 3 events"):
        ranking_loss(torch.zeros(3), torch.ones(2), torch.ones(3))
