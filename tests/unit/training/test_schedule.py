from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

from pathomix.core.errors import PathomixError
from pathomix.training.schedule import WarmupCosine


@pytest.mark.parametrize(("epochs", "warmup"), [(15, 10), (40, 10), (20, 3)])
def test_smooth_joint_is_torchs_warm_up_then_cosine(epochs: int, warmup: int) -> None:
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1e-4)
    warm = LinearLR(optimiser, 1 / 20, 1.0, warmup)
    theirs = SequentialLR(optimiser, [warm, CosineAnnealingLR(optimiser, epochs - warmup)], [warmup])
    ours = WarmupCosine(1e-4, epochs, warmup)
    for epoch in range(epochs):
        assert ours.rate(epoch) == pytest.approx(optimiser.param_groups[0]["lr"], rel=1e-9, abs=1e-18)
        optimiser.step()
        theirs.step()


@given(st.integers(1, 60), st.integers(1, 12))
def test_smooth_joint_rises_then_falls_and_never_exceeds_the_peak(epochs: int, warmup: int) -> None:
    rates = [WarmupCosine(1.0, epochs, warmup).rate(epoch) for epoch in range(epochs)]
    assert rates[0] == pytest.approx(1 / 20)
    assert all(a < b for a, b in pairwise(rates[: warmup + 1]))
    assert all(a > b for a, b in pairwise(rates[warmup:]))
    assert max(rates) <= 1.0 and min(rates) > 0.0


@pytest.mark.parametrize("epochs", [12, 15, 30])
def test_released_joint_exceeds_the_peak_by_the_cosines_first_step(epochs: int) -> None:
    schedule = WarmupCosine(1e-4, epochs, joint="released")
    excess = 2 / (1 + math.cos(math.pi / (epochs - 10)))
    assert schedule.rate(10) == pytest.approx(1e-4)
    assert schedule.rate(11) == pytest.approx(1e-4 * excess)
    assert (schedule.rate(11) == pytest.approx(2e-4)) == (epochs == 12)


def test_joints_agree_in_the_warm_up() -> None:
    smooth, released = WarmupCosine(1e-4, 15), WarmupCosine(1e-4, 15, joint="released")
    assert [smooth.rate(epoch) for epoch in range(11)] == pytest.approx([released.rate(epoch) for epoch in range(11)])


def test_impossible_schedules_are_refused() -> None:
    with pytest.raises(PathomixError, match="impossible schedule"):
        WarmupCosine(0.0, 10)
    with pytest.raises(PathomixError, match="unknown joint"):
        WarmupCosine(1e-4, 10, joint="rough")  # type: ignore[arg-type]
