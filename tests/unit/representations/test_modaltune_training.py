from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch

from pathomix.core.errors import PathomixError
from pathomix.representations.modaltune import ModalTuneRepresentation
from pathomix.representations.modaltune_training import Trainer
from pathomix.training.checkpoint import Checkpoint

ROOT = Path(__file__).resolve().parents[3]
CHANGED = {"epochs": 4, "gene_dropout": 0.25, "profile": "recommended", "frozen_backbone_stochastic": True}

# Trains as the test does; after the second epoch it kills itself without warning in the middle of the third.
KILLED = """
    import importlib.util, os, signal, sys, torch
    torch.set_num_threads(1)
    spec = importlib.util.spec_from_file_location("planted", sys.argv[1])
    planted = importlib.util.module_from_spec(spec)
    sys.modules["planted"] = planted
    spec.loader.exec_module(planted)
    from pathomix.representations.modaltune import ModalTuneRepresentation
    from pathomix.representations.modaltune_training import Trainer
    from pathomix.training.checkpoint import Checkpoint

    step = Trainer._batch
    def batch(self, group, view, size, where):
        if where == "epoch 2, step 1":
            os.kill(os.getpid(), signal.SIGKILL)
        return step(self, group, view, size, where)
    Trainer._batch = batch
    train, valid, _ = planted.parts(planted.planted(60))
    representation = ModalTuneRepresentation(planted.SLIDE_ENCODER, **{**planted.PARAMETERS, **eval(sys.argv[3])})
    representation.fit(train, valid, seed=0, checkpoint=Checkpoint(sys.argv[2], {"run": 1}))
"""


def fitted(planted, checkpoint, **changed):
    train, valid, _ = planted.parts(planted.planted(60))
    representation = ModalTuneRepresentation(planted.SLIDE_ENCODER, **{**planted.PARAMETERS, **CHANGED, **changed})
    return representation.fit(train, valid, seed=0, checkpoint=checkpoint)


@pytest.fixture(scope="module")
def uninterrupted(planted, tmp_path_factory):
    return fitted(planted, Checkpoint(tmp_path_factory.mktemp("whole") / "c.pt", {"run": 1}))


@pytest.fixture(scope="module")
def killed(planted, tmp_path_factory):
    """Checkpoint of a training that was killed in its third epoch."""
    path = tmp_path_factory.mktemp("killed") / "c.pt"
    script = textwrap.dedent(KILLED)
    arguments = [sys.executable, "-c", script, planted.__file__, str(path), repr(CHANGED)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(arguments, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    return path


def test_kill_and_resume_gives_the_same_bits(planted, uninterrupted, killed, caplog):
    caplog.set_level("INFO")
    resumed = fitted(planted, Checkpoint(killed, {"run": 1}))
    assert "resumed after epoch 1" in caplog.text
    first, second = uninterrupted.state(), resumed.state()
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert uninterrupted.history().equals(resumed.history())


def test_a_checkpoint_of_another_run_is_refused(planted, killed):
    with pytest.raises(PathomixError, match=r"checkpoint of another run: run \(1 there, 2 now\)"):
        fitted(planted, Checkpoint(killed, {"run": 2}))


def gradients(planted, checkpoint, monkeypatch, **changed):
    """Gradients of the first step, dropout aside."""
    found = {}
    step = Trainer._steps

    def watch(self, *given):
        losses = step(self, *given)
        # Of the last step of the epoch: gradients are cleared before the next one.
        found.update({name: p.grad for name, p in self.network.named_parameters()})
        return losses

    monkeypatch.setattr(Trainer, "_steps", watch)
    still = {
        "gene_epochs": 0,
        "gene_dropout": 0.0,
        "drop_path": 0.0,
        "frozen_backbone_stochastic": False,
        "batch_size": 64,
    }
    fitted(planted, checkpoint, epochs=1, selection="last", **still, **changed)
    monkeypatch.undo()
    return found


@pytest.mark.parametrize("at_once", [20, 1])
def test_splitting_a_step_changes_no_gradient(planted, tmp_path, monkeypatch, at_once):
    """A step of all cases at once; cut into groups of cases; case by case and task by task."""
    whole, cut = (
        gradients(planted, Checkpoint(tmp_path / f"{tokens}.pt", {}), monkeypatch, tokens_at_once=tokens)
        for tokens in (30_000, at_once)
    )
    for name, value in whole.items():
        if value is not None:
            scale = max(1e-3, float(value.abs().max()))
            np.testing.assert_allclose(cut[name] / scale, value / scale, atol=1e-4, err_msg=name)


def test_the_frozen_encoder_gets_no_gradient_and_the_rest_does(planted, tmp_path, monkeypatch):
    found = gradients(planted, Checkpoint(tmp_path / "c.pt", {}), monkeypatch)
    reached = {name for name, value in found.items() if value is not None and float(value.abs().sum()) > 0}
    assert not any(name.startswith("backbone") for name in reached)
    assert "interactions.0.injector.gamma" in reached, "at the start, when gamma is 0"
    assert "gene_encoder.gene_networks.weight_in" in reached


@pytest.mark.parametrize(("criterion", "best"), [("both_tasks", 2), ("last", 3)])
def test_the_selected_epoch_is_the_model(planted, tmp_path, monkeypatch, criterion, best):
    """Scores 0.5, 0.7, 0.7, 0.6: the later of two equal epochs."""
    from pathomix.representations.modaltune_selection import Selection

    weights = []

    def score(self, epoch):
        weights.append(self.model.network.final_project.weight.detach().clone())
        return {"score": [0.5, 0.7, 0.7, 0.6][epoch]}

    monkeypatch.setattr(Selection, "__call__", score)
    model = fitted(planted, Checkpoint(tmp_path / "c.pt", {}), selection=criterion)
    if criterion == "last":
        assert not weights
        return
    assert torch.equal(model.network.final_project.weight, weights[best])
    assert not torch.equal(weights[1], weights[2])


def test_released_learning_rates_and_optimiser(planted, tmp_path, monkeypatch):
    """Spec modaltune 5: the rate of each epoch reaches the optimiser."""
    rates = []
    step = Trainer._steps

    def watch(self, *given):
        rates.append(self._optimiser.param_groups[0]["lr"])
        assert self._optimiser.param_groups[0]["weight_decay"] == 5e-4
        return step(self, *given)

    monkeypatch.setattr(Trainer, "_steps", watch)
    fitted(planted, Checkpoint(tmp_path / "c.pt", {}), epochs=4, warmup=2, learning_rate=1e-4, selection="last",
           learning_rate_rule="smooth", gene_epochs=3)  # fmt: skip
    np.testing.assert_allclose(rates, [5e-6, 5.25e-5, 1e-4, 5e-6, 5.25e-5, 1e-4, 5e-5])


def test_gene_epochs_train_what_genes_reach_and_read_no_tile(planted, tmp_path, monkeypatch):
    """Weights before and after them: the adapter's interactions with tiles are as drawn, the gene encoder is not."""
    found = []
    learn = Trainer._learn_genes

    def watch(self, epochs):
        monkeypatch.setattr(type(self._inputs), "_laid", None)
        found.append(self._weights())
        learn(self, epochs)
        assert not self._optimiser.state, "the joint epochs have an optimiser of their own"
        found.append(self._weights())
        monkeypatch.undo()

    monkeypatch.setattr(Trainer, "_learn_genes", watch)
    fitted(planted, Checkpoint(tmp_path / "c.pt", {}), epochs=1, gene_epochs=2, selection="last")
    before, after = found
    kept = {name for name in before if torch.equal(before[name], after[name])}
    assert kept == {name for name in before if name.startswith("interactions")}


def test_a_run_killed_after_the_gene_epochs_does_not_repeat_them(planted, tmp_path, monkeypatch):
    whole = fitted(planted, Checkpoint(tmp_path / "whole.pt", {}), epochs=2)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "_epoch", lambda self, epoch: (_ for _ in ()).throw(KeyboardInterrupt))
        fitted(planted, Checkpoint(tmp_path / "killed.pt", {}), epochs=2)
    monkeypatch.setattr(Trainer, "_learn_genes", None)
    resumed = fitted(planted, Checkpoint(tmp_path / "killed.pt", {}), epochs=2)
    assert all(np.array_equal(value, resumed.state()[name]) for name, value in whole.state().items())


@pytest.mark.parametrize(
    ("share", "modalities"), [(0.6, ["image", "genes"]), (0.0, ["image", "genes"]), (0.6, ["genes"])]
)
def test_every_case_is_seen_once_in_an_epoch_and_the_share_without_a_modality(
    planted, tmp_path, monkeypatch, share, modalities
):
    seen = []
    step = Trainer._batch

    def watch(self, batch, view, size, where):
        assert (batch.features is None) == (view == "genes" or modalities == ["genes"])
        assert (batch.genes is None) == (view == "image")
        seen.append((where.split(",")[0], view, batch.rows))
        return step(self, batch, view, size, where)

    monkeypatch.setattr(Trainer, "_batch", watch)
    fitted(planted, Checkpoint(tmp_path / "c.pt", {}), epochs=12, gene_epochs=0, selection="last",
           modality_dropout=share, modalities=modalities)  # fmt: skip
    by_epoch = {epoch: sorted(row for e, _, rows in seen if e == epoch for row in rows) for epoch, _, _ in seen}
    cases = by_epoch["epoch 0"]
    assert len(by_epoch) == 12 and all(rows == cases == list(range(len(cases))) for rows in by_epoch.values())
    shown = {
        view: sum(len(rows) for _, v, rows in seen if v == view) / (12 * len(cases)) for view in ("image", "genes")
    }
    expected = share / 2 if len(modalities) == 2 else 0.0
    # Four standard deviations of a share of 12 epochs.
    assert all(abs(value - expected) <= 4 * (expected / (12 * len(cases))) ** 0.5 for value in shown.values())
