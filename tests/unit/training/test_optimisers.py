from __future__ import annotations

import copy
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import nn

from pathomix.core.seeding import seeded
from pathomix.training.optimisers import FURTHER_OPTIMISERS, OPTIMISERS, make_optimiser

SETTINGS = {"lr": 0.01, "weight_decay": 0.1}
PLAIN: dict[str, tuple[type[torch.optim.Optimizer], dict[str, Any]]] = {
    "adam": (torch.optim.Adam, {}),
    "radam": (torch.optim.RAdam, {}),
    "adamw": (torch.optim.AdamW, {}),
    "sgd": (torch.optim.SGD, {"momentum": 0.9}),
}
INPUTS = torch.linspace(-1, 1, 60).view(20, 3)


def network() -> nn.Module:
    with seeded(3):
        return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))


def steps(model: nn.Module, optimiser: torch.optim.Optimizer, number: int) -> list[torch.Tensor]:
    for _ in range(number):
        optimiser.zero_grad(set_to_none=True)
        model(INPUTS).square().mean().backward()
        optimiser.step()
    return [parameter.detach().clone() for parameter in model.parameters()]


def test_every_optimiser_that_can_be_named_is_compared() -> None:
    assert set(PLAIN) == {*OPTIMISERS, *FURTHER_OPTIMISERS}


@pytest.mark.parametrize("name", PLAIN)
def test_the_steps_are_those_of_torch(name: str) -> None:
    kind, fixed = PLAIN[name]
    mine, theirs = network(), network()
    given = steps(mine, make_optimiser(name, mine.parameters(), **SETTINGS), 20)
    expected = steps(theirs, kind(theirs.parameters(), **fixed, **SETTINGS), 20)
    for have, want in zip(given, expected, strict=True):
        torch.testing.assert_close(have, want, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", PLAIN)
def test_a_loaded_state_goes_on_with_the_same_bits(name: str) -> None:
    model = network()
    optimiser = make_optimiser(name, model.parameters(), **SETTINGS)
    steps(model, optimiser, 3)
    again = network()
    again.load_state_dict(model.state_dict())
    resumed = make_optimiser(name, again.parameters(), **SETTINGS)
    resumed.load_state_dict(copy.deepcopy(optimiser.state_dict()))
    for have, want in zip(steps(again, resumed, 4), steps(model, optimiser, 4), strict=True):
        assert torch.equal(have, want)


def test_groups_keep_what_they_carry() -> None:
    model = network()
    groups = [
        {"params": [parameter], "lr": rate} for parameter, rate in zip(model.parameters(), (1, 2, 3, 4), strict=True)
    ]
    optimiser = make_optimiser("sgd", groups, **SETTINGS)
    assert [group["lr"] for group in optimiser.param_groups] == [1, 2, 3, 4]
    assert {group["weight_decay"] for group in optimiser.param_groups} == {0.1}


@pytest.mark.parametrize("name", PLAIN)
def test_no_step_imports_the_compiler(name: str) -> None:
    code = (
        "import sys, torch; from pathomix.training.optimisers import make_optimiser; weight = torch.nn.Linear(2, 1);"
        f" optimiser = make_optimiser({name!r}, weight.parameters(), lr=0.1); optimiser.zero_grad();"
        " weight(torch.ones(1, 2)).sum().backward(); optimiser.step();"
        " optimiser.load_state_dict(optimiser.state_dict());"
        " sys.exit(any(module in sys.modules for module in ('torch._dynamo', 'sympy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
