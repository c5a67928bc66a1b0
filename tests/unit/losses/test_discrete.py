from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from pathomix.core.errors import PathomixError
from pathomix.losses.discrete import discrete_risk, hazards_and_survival, nll_survival_loss, survival_cross_entropy


def test_equals_the_likelihood_written_out() -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(6, 4))
    label, event = np.array([0, 1, 2, 3, 3, 1]), np.array([1, 0, 1, 1, 0, 1])
    hazard = 1 / (1 + np.exp(-logits))
    expected = []
    for row, (k, happened) in enumerate(zip(label, event, strict=True)):
        before = np.prod(1 - hazard[row, :k])
        expected.append(-np.log(before * (hazard[row, k] if happened else 1 - hazard[row, k])))
    given = torch.from_numpy(logits), torch.from_numpy(label), torch.from_numpy(event)
    assert nll_survival_loss(*given).item() == pytest.approx(np.mean(expected))
    assert nll_survival_loss(*given, reduction="sum").item() == pytest.approx(np.sum(expected))
    uncensored = np.array(expected) * event
    assert nll_survival_loss(*given, alpha=1.0).item() == pytest.approx(uncensored.mean())
    assert nll_survival_loss(*given, alpha=0.4).item() == pytest.approx(
        0.6 * np.mean(expected) + 0.4 * uncensored.mean()
    )


def test_cross_entropy_equals_the_definition_written_out() -> None:
    generator = np.random.default_rng(1)
    logits = generator.normal(size=(6, 4))
    label, event = np.array([0, 1, 2, 3, 3, 1]), np.array([1, 0, 1, 1, 0, 1])
    hazard = 1 / (1 + np.exp(-logits))
    survival = np.cumprod(1 - hazard, axis=1)[np.arange(6), label]
    entropy = -np.where(event == 1, np.log(1 - survival), np.log(survival))
    given = torch.from_numpy(logits), torch.from_numpy(label), torch.from_numpy(event)
    assert survival_cross_entropy(*given).item() == pytest.approx(entropy.mean())
    uncensored = nll_survival_loss(*given, alpha=1.0).item()
    assert survival_cross_entropy(*given, alpha=0.4).item() == pytest.approx(
        0.6 * entropy.mean() + 0.4 * uncensored, abs=1e-6
    )


def test_risk_rises_with_every_hazard() -> None:
    logits = torch.zeros(1, 4)
    for k in range(4):
        higher = logits.clone()
        higher[0, k] += 1
        assert discrete_risk(higher) > discrete_risk(logits)
    assert hazards_and_survival(logits)[1].tolist() == [[0.5, 0.25, 0.125, 0.0625]]


@pytest.mark.parametrize("loss_of", [nll_survival_loss, survival_cross_entropy])
def test_finite_where_probabilities_vanish(loss_of: Callable[..., torch.Tensor]) -> None:
    logits = torch.tensor([[-200.0, 200.0], [200.0, -200.0]], requires_grad=True)
    loss = loss_of(logits, torch.tensor([0, 1]), torch.tensor([1, 1]))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("loss_of", [nll_survival_loss, survival_cross_entropy])
def test_label_without_interval_is_refused(loss_of: Callable[..., torch.Tensor]) -> None:
    with pytest.raises(PathomixError, match=r"outside 0\.\.3"):
        loss_of(torch.zeros(1, 4), torch.tensor([4]), torch.tensor([1]))
