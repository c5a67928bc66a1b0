"""Losses by hand, the schedule, stopping, and that a run is repeated to the bit."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch

from pathomix.core.errors import PathomixError
from pathomix.nn.smoother import Smoother
from pathomix.smoothing.mixing import Mixtures
from pathomix.smoothing.parameters import TrainingSettings
from pathomix.smoothing.pool import Rows
from pathomix.smoothing.train import fit_smoother, mixture_loss, predicted_composition, smooth
from pathomix.smoothing.validation import composition_r2


def planted(count: int, seed: int, noise: float = 0.05) -> Rows:
    """Compositions of three classes behind a fixed random nonlinear map."""
    generator = np.random.default_rng(seed)
    cells, weights = generator.integers(3, size=(count, 2)), generator.dirichlet([1, 1], count)
    targets = np.zeros((count, 3), np.float32)
    np.add.at(targets, (np.arange(count)[:, None], cells), weights)
    maps = np.random.default_rng(99)
    hidden = np.tanh(3 * targets @ maps.standard_normal((3, 12)) + maps.standard_normal(12))
    embeddings = hidden + noise * generator.standard_normal(hidden.shape)
    return Rows(embeddings.astype(np.float32), Mixtures(np.arange(count), cells, weights), cells, targets)


TRAIN, VALID = planted(600, 1), planted(200, 2)


def fit(**given: object) -> tuple[Smoother, pd.DataFrame]:
    settings = TrainingSettings(**{"epochs": 6, "batch_size": 64, "hidden": 24, "out_dim": 8, **given})
    return fit_smoother(lambda epoch: TRAIN, VALID, 3, settings)


def test_losses_by_hand() -> None:
    z, t = torch.tensor([[0.2, -1.0, 0.5], [2.0, 0.0, 0.0]]), torch.tensor([[0.3, 0.7, 0.0], [1.0, 0.0, 0.0]])
    p = torch.exp(z) / torch.exp(z).sum(dim=1, keepdim=True)
    assert float(mixture_loss(z, t, "mse")) == pytest.approx(float(((z - t) ** 2).sum()) / 6)
    assert float(mixture_loss(z, t, "mse_softmax")) == pytest.approx(float(((p - t) ** 2).sum()) / 6)
    assert float(mixture_loss(z, t, "soft_ce")) == pytest.approx(float(-(t * p.log()).sum()) / 2)
    assert torch.equal(predicted_composition(z, "mse"), z)
    torch.testing.assert_close(predicted_composition(z, "soft_ce"), p)


@pytest.mark.parametrize("loss", ["mse", "mse_softmax", "soft_ce"])
def test_learns_under_every_loss(loss: str) -> None:
    model, history = fit(loss=loss, epochs=15, batch_size=32, dropout=0.0)
    outputs = torch.from_numpy(smooth(model, VALID.embeddings)[1])
    assert composition_r2(VALID.targets, predicted_composition(outputs, loss).numpy())[0] > 0.8
    assert history["valid_loss"].iloc[-1] < history["valid_loss"].iloc[0]


def test_a_run_is_repeated_to_the_bit_and_leaves_torch_alone() -> None:
    torch.manual_seed(5)
    first, history = fit()
    state = torch.random.get_rng_state()
    torch.manual_seed(5)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(6)
    second, again = fit()
    assert history.equals(again)
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name
    other, _ = fit(seed=1)
    assert not torch.equal(other.head.weight, first.head.weight)


def test_the_rate_is_a_cosine_and_the_best_epoch_is_kept() -> None:
    model, history = fit(patience=99)
    expected = [1e-3 * (1 + math.cos(math.pi * epoch / 6)) / 2 for epoch in range(6)]
    np.testing.assert_allclose(history["learning_rate"], expected)
    outputs = torch.from_numpy(smooth(model, VALID.embeddings)[1])
    kept = float(mixture_loss(outputs, torch.from_numpy(VALID.targets), "mse"))
    assert kept == pytest.approx(history["valid_loss"].min())
    assert history["best"].sum() == 1 and history["valid_loss"][history["best"]].item() == history["valid_loss"].min()


def test_stops_after_epochs_without_a_better_loss() -> None:
    unreadable = VALID._replace(targets=np.roll(VALID.targets, 1, axis=1))
    settings = TrainingSettings(epochs=30, batch_size=32, hidden=24, patience=3)
    model, history = fit_smoother(lambda epoch: TRAIN, unreadable, 3, settings)
    best = int(history["valid_loss"].argmin())
    assert len(history) == best + 4 < 30
    outputs = torch.from_numpy(smooth(model, VALID.embeddings)[1])
    kept = float(mixture_loss(outputs, torch.from_numpy(unreadable.targets), "mse"))
    assert kept == pytest.approx(history["valid_loss"].min())
    assert kept < history["valid_loss"].iloc[-1] - 1e-4


def test_new_mixtures_are_asked_for_in_every_epoch() -> None:
    asked: list[int] = []

    def rows(epoch: int) -> Rows:
        asked.append(epoch)
        return planted(100, 10 + epoch)

    fit_smoother(rows, VALID, 3, TrainingSettings(epochs=4, patience=9))
    assert asked == [0, 1, 2, 3]


def test_switches_reach_the_model() -> None:
    base, _ = fit()
    for change in ({"activation": "elu"}, {"dropout": 0.4}, {"standardise": False}, {"weight_decay": 0.5},
                   {"clip": 0.01}, {"learning_rate": 1e-2}, {"batch_size": 32}):  # fmt: skip
        other, _ = fit(**change)
        assert not torch.equal(other.head.weight, base.head.weight), change
    assert torch.equal(fit(standardise=False)[0].mean, torch.zeros(12)) and not torch.equal(base.mean, torch.zeros(12))


def test_a_loss_that_is_no_number_is_an_error() -> None:
    broken = TRAIN._replace(embeddings=np.full_like(TRAIN.embeddings, 1e38))
    with pytest.raises(PathomixError, match="not finite in epoch 0"):
        fit_smoother(lambda epoch: broken, VALID, 3, TrainingSettings(epochs=1, standardise=False))
