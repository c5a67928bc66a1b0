from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from pathomix.core.errors import PathomixError
from pathomix.core.seeding import seeded
from pathomix.core.seeds import derived_seed
from pathomix.training.batches import batches
from pathomix.training.loop import Hooks, Recipe, optimise

ROWS = np.zeros(32, dtype=np.int64)


def problem(seed: int = 0) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(32, 3, generator=generator)
    with seeded(1):
        model = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.2), nn.Linear(8, 1))
    return model, inputs, inputs @ torch.tensor([[1.0], [-2.0], [0.5]])


def trained(recipe: Recipe, seed: int = 0, score: list[float] | None = None) -> tuple[nn.Module, list]:
    model, inputs, targets = problem()
    scores = iter(score or [])
    with seeded(seed):
        history = optimise(
            model,
            lambda rows: (model(inputs[rows]) - targets[rows]).square().mean(),
            ROWS,
            recipe,
            seed,
            (lambda: next(scores)) if score else None,
        )
    return model, history


def test_the_loss_falls_and_the_model_is_left_in_evaluation_mode() -> None:
    model, history = trained(Recipe(epochs=40, batch_size=16, learning_rate=0.03))
    assert history[-1].loss < history[0].loss / 4
    assert not model.training


def test_same_seed_same_parameters_and_the_global_stream_is_left_alone() -> None:
    recipe = Recipe(epochs=3, batch_size=8, learning_rate=0.01)
    before = torch.get_rng_state()
    first, second, other = (trained(recipe, seed)[0].state_dict() for seed in (4, 4, 5))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_best_epoch_is_kept_and_patience_ends_training() -> None:
    recipe = Recipe(epochs=10, batch_size=32, learning_rate=0.01, patience=2)
    scores = [0.5, 0.6, 0.4, 0.6, 0.9, 0.9]
    model, history = trained(recipe, score=scores)
    assert [epoch.step for epoch in history] == [0, 1, 2, 3]  # 0.6 again is not better
    # The second epoch's parameters: those of a run whose two epochs have the same learning rates and end there.
    seen: list[list[torch.Tensor]] = []
    reference, inputs, targets = problem()
    values = iter(scores)

    def score() -> float:
        seen.append([p.detach().clone() for p in reference.parameters()])
        return next(values)

    def loss(rows: np.ndarray) -> torch.Tensor:
        return (reference(inputs[rows]) - targets[rows]).square().mean()

    with seeded(0):
        optimise(reference, loss, ROWS, recipe, 0, score)
    for network in (model, reference):
        assert all(torch.equal(a, b) for a, b in zip(network.parameters(), seen[1], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(seen[1], seen[3], strict=True))


def test_learning_rate_schedule() -> None:
    factors = [Recipe(epochs=5, batch_size=1, learning_rate=1.0, constant_epochs=2).factor(e) for e in range(5)]
    assert factors == pytest.approx([1, 1, 0.75, 0.5, 0.25])


def test_l1_drives_parameters_towards_zero() -> None:
    def size(l1: float) -> float:
        model, _ = trained(Recipe(epochs=60, batch_size=32, learning_rate=0.02, l1=l1))
        return sum(p.abs().sum().item() for p in model.parameters())

    assert size(0.3) < 0.5 * size(0.0)


def test_batches_without_information_are_skipped_and_counted() -> None:
    model = problem()[0]
    before = [p.detach().clone() for p in model.parameters()]
    history = optimise(model, lambda rows: None, ROWS, Recipe(2, 16, 0.1, l1=0.1), 0)
    assert [epoch.skipped for epoch in history] == [2, 2]
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_hooks_that_do_what_the_loop_does_change_no_bit() -> None:
    recipe = Recipe(epochs=3, batch_size=8, learning_rate=0.01, l1=0.01, l2=0.1)
    expected = trained(recipe)[0].state_dict()
    model, inputs, targets = problem()
    measured: list[tuple[int, bool]] = []
    hooks = Hooks(
        groups=[{"params": list(model.parameters())}],
        order=lambda epoch, generator: batches(ROWS, recipe.batch_size, generator),
        step=lambda optimiser: optimiser.step(),
        measure=lambda epoch: measured.append((epoch, model.training)),
    )

    def loss(rows: np.ndarray) -> torch.Tensor:
        return (model(inputs[rows]) - targets[rows]).square().mean()

    with seeded(0):
        optimise(model, loss, ROWS, recipe, 0, None, hooks)
    assert all(torch.equal(expected[name], value) for name, value in model.state_dict().items())
    assert measured == [(0, False), (1, False), (2, False)]


def test_groups_keep_their_own_learning_rates_under_the_schedule() -> None:
    model, inputs, targets = problem()
    seen: list[list[float]] = []
    first, last = list(model[0].parameters()), list(model[2].parameters())
    before = [p.detach().clone() for p in first]

    def step(optimiser: torch.optim.Optimizer) -> None:
        seen.append([group["lr"] for group in optimiser.param_groups])
        optimiser.step()

    hooks = Hooks(groups=[{"params": first, "lr": 0.0}, {"params": last}], step=step)

    def loss(rows: np.ndarray) -> torch.Tensor:
        return (model(inputs[rows]) - targets[rows]).square().mean()

    optimise(model, loss, ROWS, Recipe(epochs=2, batch_size=32, learning_rate=0.3), 0, None, hooks)
    assert seen == [pytest.approx([0.0, 0.2]), pytest.approx([0.0, 0.1])]
    assert all(torch.equal(a, b) for a, b in zip(before, first, strict=True))


@pytest.mark.parametrize("optimiser", ["adam", "radam", "adamw", "sgd"])
def test_optimisers(optimiser: str) -> None:
    _, history = trained(Recipe(epochs=60, batch_size=16, learning_rate=0.03, optimiser=optimiser))
    assert history[-1].loss < history[0].loss / 2


def test_failures_are_said() -> None:
    with pytest.raises(PathomixError, match="no valid part"):
        trained(Recipe(2, 16, 0.1, patience=1))
    with pytest.raises(PathomixError, match="yields no score"):
        trained(Recipe(2, 16, 0.1, patience=5), score=[float("nan")] * 5)
    model, inputs, _ = problem()
    with pytest.raises(PathomixError, match="not finite"):
        optimise(model, lambda rows: model(inputs[rows]).sum() * torch.inf, ROWS, Recipe(1, 16, 0.1), 0)


def test_the_seed_sets_dropout_and_initialisation_apart_from_the_batch_order() -> None:
    with seeded(3):
        first = torch.rand(4)
    with seeded(4):
        second = torch.rand(4)
    with seeded(3):
        assert torch.equal(first, torch.rand(4))
    assert not torch.equal(first, second)


def test_derived_seeds_are_stable_and_distinct() -> None:
    assert derived_seed(1, "a") == derived_seed(1, "a")
    assert len({derived_seed(s, n) for s in range(5) for n in ("a", "b")}) == 10
