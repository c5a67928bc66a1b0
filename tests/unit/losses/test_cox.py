from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchsurv.loss.cox import neg_partial_log_likelihood

from pathomix.core.errors import PathomixError
from pathomix.losses.cox import CoxMode, Ties, cox_loss
from pathomix.survival.cox import RiskSets

rows = st.lists(st.tuples(st.integers(1, 6), st.integers(0, 1), st.floats(-4, 4)), min_size=1, max_size=25)


def columns(rows: list[tuple[int, int, float]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    time, event, theta = (torch.tensor(column, dtype=torch.float64) for column in zip(*rows, strict=True))
    return time, event, theta


def quadratic(time: torch.Tensor, event: torch.Tensor, theta: torch.Tensor, ties: Ties) -> torch.Tensor:
    """The definition with one sum per event."""
    total = theta.sum() * 0
    for i in torch.where(event == 1)[0].tolist():
        at_risk = theta[time >= time[i]].exp().sum()
        if ties == "efron":
            tied = torch.where((time == time[i]) & (event == 1))[0].tolist()
            at_risk = at_risk - tied.index(i) / len(tied) * theta[tied].exp().sum()
        total = total - (theta[i] - at_risk.log())
    return total


@pytest.mark.parametrize("ties", ["breslow", "efron"])
@settings(max_examples=40, deadline=None)
@given(rows=rows)
def test_loss_and_gradient_equal_the_definition(ties: Ties, rows: list[tuple[int, int, float]]) -> None:
    time, event, theta = columns(rows)
    gradients, losses = [], []
    for function in (lambda x: cox_loss(x, time, event, "paper", ties), lambda x: quadratic(time, event, x, ties)):
        variable = theta.clone().requires_grad_()
        loss = function(variable)
        loss.backward()
        losses.append(loss.item())
        gradients.append(variable.grad.numpy())
    assert losses[0] == pytest.approx(losses[1], abs=1e-9)
    assert gradients[0] == pytest.approx(gradients[1], abs=1e-9)
    # The same in the NumPy kernel, which has its gradient in closed form (section 3.2).
    assert gradients[0] == pytest.approx(-RiskSets(time, event, ties).gradient(theta), abs=1e-9)


@pytest.mark.parametrize("ties", ["breslow", "efron"])
def test_equals_torchsurv(ties: Ties) -> None:
    generator = torch.Generator().manual_seed(1)
    theta = torch.randn(60, generator=generator)
    time = torch.randint(1, 12, (60,), generator=generator).float()
    event = torch.rand(60, generator=generator) < 0.5
    theirs = neg_partial_log_likelihood(theta, event, time, ties_method=ties, reduction="sum")
    assert cox_loss(theta, time, event, "paper", ties).item() == pytest.approx(theirs.item(), rel=1e-5)


def test_modes_differ_by_their_divisor() -> None:
    theta, time, event = torch.tensor([0.3, -1.0, 0.7, 0.1]), torch.tensor([1.0, 2, 3, 4]), torch.tensor([1, 0, 1, 0])
    total = cox_loss(theta, time, event, "paper").item()
    assert cox_loss(theta, time, event, "pf").item() == pytest.approx(total / 4)
    assert cox_loss(theta, time, event, "event_mean").item() == pytest.approx(total / 2)


def test_printed_gradient_formula() -> None:
    """dL/dtheta_k = d_k - sum over events i with k in R_i of exp(theta_k) / sum_{R_i} exp(theta)."""
    theta = torch.tensor([0.5, -0.2, 0.9, 0.0], dtype=torch.float64, requires_grad=True)
    time, event = np.array([2.0, 1.0, 2.0, 3.0]), np.array([1, 0, 1, 0])
    cox_loss(theta, torch.from_numpy(time), torch.from_numpy(event), "paper").backward()
    hazard = theta.detach().exp().numpy()
    expected = [
        event[k] - sum(hazard[k] / hazard[time >= time[i]].sum() for i in range(4) if event[i] and time[k] >= time[i])
        for k in range(4)
    ]
    assert -theta.grad.numpy() == pytest.approx(np.array(expected))


@pytest.mark.parametrize("ties", ["breslow", "efron"])
def test_finite_for_huge_log_hazards(ties: Ties) -> None:
    generator = torch.Generator().manual_seed(0)
    theta = (1000 * torch.randn(40, generator=generator)).requires_grad_()
    time = torch.randint(1, 9, (40,), generator=generator)
    loss = cox_loss(theta, time, torch.rand(40, generator=generator) < 0.6, "pf", ties)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(theta.grad).all()


def test_no_event_is_zero_with_the_graph_attached() -> None:
    theta = torch.tensor([[1.0], [2.0]], requires_grad=True)
    loss = cox_loss(theta, torch.tensor([1.0, 2.0]), torch.tensor([0, 0]))
    loss.backward()
    assert loss.item() == 0.0
    assert (theta.grad == 0).all()


def test_bad_input_is_refused() -> None:
    with pytest.raises(PathomixError, match="unknown Cox loss"):
        cox_loss(torch.zeros(2), torch.ones(2), torch.ones(2), "mean")  # type: ignore[arg-type]
    with pytest.raises(PathomixError, match="2 log hazards, 3 times"):
        cox_loss(torch.zeros(2), torch.ones(3), torch.ones(2))


def test_all_modes_share_the_direction() -> None:
    theta, time, event = torch.tensor([0.3, -1.0, 0.7]), torch.tensor([1.0, 2, 3]), torch.tensor([1, 1, 0])
    slopes = []
    for mode in ("pf", "paper", "event_mean"):
        variable = theta.clone().requires_grad_()
        chosen: CoxMode = mode  # type: ignore[assignment]
        cox_loss(variable, time, event, chosen).backward()
        slopes.append(variable.grad / variable.grad.norm())
    assert torch.allclose(slopes[0], slopes[1])
    assert torch.allclose(slopes[0], slopes[2])
