"""Optimisation of ModalTune: epochs, learning rate, loss, selection on the valid part, checkpoints (spec section 5)."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pathomix.core.errors import PathomixError
from pathomix.core.seeding import seeded
from pathomix.core.seeds import derived_seed
from pathomix.losses.text_alignment import text_alignment_loss
from pathomix.nn.modaltune import ModalTune, View, backward_by_task
from pathomix.representations.modaltune_data import Batch, CaseInputs
from pathomix.representations.modaltune_settings import ModalTuneSettings
from pathomix.training.checkpoint import Checkpoint
from pathomix.training.optimisers import make_optimiser
from pathomix.training.precision import Precision
from pathomix.training.schedule import WarmupCosine

log = logging.getLogger(__name__)

Scores = Mapping[str, float]


class Trainer:
    """One training run.

    Every epoch draws from streams of its own, made from the seed and the epoch's number; so an epoch after a resume is
    the epoch it would have been, and the checkpoint needs no state of generators.

    Args:
        network: In place; its frozen backbone is neither trained nor saved.
        inputs: Training cases.
        targets: [cases, tasks, output_dim], unit vectors.
        settings: Parameters.
        seed: Of the order of cases and of dropout.
        precision: Autocast and loss scaling.
        score: Higher-is-better score of the current network under the name `score`, NaN where there is none, beside
            whatever else was measured; None: the last epoch is the model.
    """

    def __init__(
        self,
        network: ModalTune,
        inputs: CaseInputs,
        targets: Tensor,
        settings: ModalTuneSettings,
        seed: int,
        precision: Precision,
        score: Callable[[int], Scores] | None,
    ) -> None:
        self.network, self.settings = network, settings
        self._inputs, self._score, self._seed, self._precision = inputs, score, seed, precision
        self._device = network.gene_pe.device
        self._targets = targets.to(self._device)
        self._trained = {name: p for name, p in network.named_parameters() if p.requires_grad}
        self._optimiser, self._schedule = self._optimisation(settings.epochs)
        self.history: list[dict[str, float]] = []
        self._best: dict[str, Any] | None = None

    def run(self, checkpoint: Checkpoint) -> list[dict[str, float]]:
        """Train to the end, from the checkpoint where there is one; the network is left with the selected parameters.

        Returns:
            One entry per epoch.

        Raises:
            PathomixError: The loss is not finite, or the valid part yields no score.
        """
        state = checkpoint.load()
        if state is None and self._gene_epochs:
            self._learn_genes(self._gene_epochs)
            checkpoint.save(self._state())
        self._resume(state)
        for epoch in range(len(self.history), self.settings.epochs):
            self.history.append(self._epoch(epoch))
            log.info("epoch %d: %s", epoch, ", ".join(f"{k} {v:.4g}" for k, v in self.history[-1].items()))
            checkpoint.save(self._state())
        if self._best is not None:
            self._restore(self._best["network"])
        self.network.eval()
        return self.history

    @property
    def _gene_epochs(self) -> int:
        unread = self.network.gene_encoder is None or self.network.settings.fusion == "image"
        return 0 if unread else int(self.settings.value("gene_epochs"))

    def _optimisation(self, epochs: int) -> tuple[torch.optim.Optimizer, WarmupCosine]:
        settings = self.settings
        rate = settings.learning_rate
        optimiser = make_optimiser("adamw", self._trained.values(), lr=rate, weight_decay=settings.weight_decay)
        return optimiser, WarmupCosine(rate, epochs, settings.warmup, joint=settings.value("learning_rate_rule"))

    # epochs

    def _learn_genes(self, epochs: int) -> None:
        """Epochs on genes alone, under an optimiser and a schedule of their own; no tile is read."""
        log.info("%d epochs on genes alone", epochs)
        shown: list[View] = ["genes"] * len(self._inputs.ids)
        joint, (self._optimiser, schedule) = self._optimiser, self._optimisation(epochs)
        for epoch in range(epochs):
            self._set_rate(schedule.rate(epoch))
            with stream(derived_seed(self._seed, "gene epoch", epoch), self._device):
                self._steps(epoch, shown, "gene ")
        self._optimiser = joint

    def _set_rate(self, rate: float) -> None:
        for group in self._optimiser.param_groups:
            group["lr"] = rate

    def _views(self, epoch: int) -> list[View]:
        """What is shown of each case in this epoch."""
        share = self.settings.value("modality_dropout") if len(self.network.views) > 1 else 0.0
        drawn = np.random.default_rng(derived_seed(self._seed, "views", epoch)).random(len(self._inputs.ids))
        return ["joint" if u >= share else "genes" if u < share / 2 else "image" for u in drawn]

    def _epoch(self, epoch: int) -> dict[str, float]:
        rate = self._schedule.rate(epoch)
        self._set_rate(rate)
        with stream(derived_seed(self._seed, "epoch", epoch), self._device):
            losses = self._steps(epoch, self._views(epoch))
        named = {f"loss_{task}": float(value) for task, value in zip(self.settings.tasks, losses, strict=True)}
        measured = {"step": float(epoch), "learning_rate": rate, "loss": float(losses.sum()), **named, **self._norms()}
        if self._score is not None:
            self.network.eval()
            scores = dict(self._score(epoch))
            self._keep_best(epoch, scores["score"])
            measured |= scores
        return measured

    def _steps(self, epoch: int, views: Sequence[View], stage: str = "") -> NDArray[np.float64]:
        """All steps of an epoch of a stage, each case in its view; the mean loss by task over its cases."""
        self.network.train()
        order = np.random.default_rng(derived_seed(self._seed, f"{stage}order", epoch)).permutation(
            len(self._inputs.ids)
        )
        total, cases = torch.zeros(len(self.settings.tasks), dtype=torch.float64), 0
        size = self.settings.batch_size
        for step, start in enumerate(range(0, len(order), size)):
            rows = [int(row) for row in order[start : start + size]]
            self._optimiser.zero_grad(set_to_none=True)
            done = 0
            for view in dict.fromkeys(views[row] for row in rows):
                seen = [row for row in rows if views[row] == view]
                for batch in self._inputs.groups(seen, 2 * epoch, self._tiles_at_once, view):
                    total += self._batch(batch, view, len(rows), f"{stage}epoch {epoch}, step {step}")
                    done += len(batch.rows)
            if done:
                self._precision.step(self._optimiser)
            cases += done
        return (total / max(1, cases)).numpy()

    @property
    def _tiles_at_once(self) -> int:
        return max(1, self.settings.tokens_at_once // len(self.settings.tasks))

    def _batch(self, batch: Batch, view: View, step_size: int, where: str) -> Tensor:
        """Add the gradients of a batch; its loss by task, summed over its cases."""
        targets = self._targets[batch.rows]
        parts = torch.zeros(len(self.settings.tasks), dtype=torch.float64)

        def loss(embeddings: Tensor, tasks: list[int]) -> Tensor:
            found = text_alignment_loss(
                embeddings.float(), targets[:, tasks], self.settings.temperature, self.settings.value("loss")
            )
            parts[tasks] = found.by_task.detach().double().cpu() * len(batch.rows)
            self._require_finite(embeddings, parts, tasks, batch, where)
            return self._precision.scaled(found.total * len(batch.rows) / step_size)

        tokens = 0 if batch.features is None else batch.features.shape[0] * batch.features.shape[1]
        whole = tokens * len(self.settings.tasks) <= self.settings.tokens_at_once
        task_batch = None if whole else max(1, self.settings.tokens_at_once // tokens)
        with self._precision.autocast():
            front = self.network.front(**batch.inputs(self._device), view=view)
        backward_by_task(self.network, front, loss, task_batch, self._precision.autocast)
        return parts

    def _require_finite(self, embeddings: Tensor, parts: Tensor, tasks: list[int], batch: Batch, where: str) -> None:
        bad = [self.settings.tasks[task] for task in tasks if not math.isfinite(parts[task])]
        if bad:
            whole = torch.isfinite(embeddings).flatten(1).all(dim=1).tolist()
            cases = [str(self._inputs.ids[row]) for row, good in zip(batch.rows, whole, strict=True) if not good]
            raise PathomixError(
                f"{where}: the loss of {', '.join(bad)} is not finite, in the cases",
                offending=cases or [str(self._inputs.ids[row]) for row in batch.rows],
                remedy="lower `learning_rate`, set `clip` for the genes, or set `precision: float32`",
            )

    @torch.no_grad()
    def _norms(self) -> dict[str, float]:
        """Mean lengths of what is fused, over a few training cases: one part that dwarfs the others hides them."""
        self.network.eval()
        rows = range(min(8, len(self._inputs.ids)))
        found: dict[str, list[float]] = {}
        for batch in self._inputs.groups(rows, 0, self._tiles_at_once):
            with self._precision.autocast():
                kept = self.network(**batch.inputs(self._device), keep=("parts",)).kept
            for name, part in kept.items():
                found.setdefault(name.replace("part.", "norm_"), []).extend(
                    part.float().norm(dim=-1).flatten().tolist()
                )
        return {name: float(np.mean(values)) for name, values in found.items()}

    # state

    def _keep_best(self, epoch: int, score: float) -> None:
        """Ties go to the later epoch (spec section 5)."""
        if math.isnan(score):
            raise PathomixError(
                "the valid part yields no score to select an epoch by",
                remedy="set `selection: last`, or a scheme whose valid part has classes and events",
            )
        if self._best is None or score >= self._best["score"]:
            self._best = {"epoch": epoch, "score": score, "network": self._weights()}

    def _weights(self) -> dict[str, Tensor]:
        return {name: value.detach().cpu().clone() for name, value in self._trained.items()}

    @torch.no_grad()
    def _restore(self, weights: Mapping[str, Tensor]) -> None:
        for name, value in self._trained.items():
            value.copy_(weights[name])

    def _state(self) -> dict[str, Any]:
        return {
            "network": self._weights(),
            "optimiser": self._optimiser.state_dict(),
            "scaler": self._precision.state(),
            "history": self.history,
            "best": self._best,
        }

    def _resume(self, state: Mapping[str, Any] | None) -> None:
        if state is None:
            return
        self._restore(state["network"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._precision.restore(state["scaler"])
        self.history, self._best = list(state["history"]), state["best"]
        log.info("resumed after epoch %d", len(self.history) - 1)


@contextmanager
def stream(seed: int, device: torch.device) -> Iterator[None]:
    """Torch's streams of the CPU and of `device` seeded inside the block, as before afterwards."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), seeded(seed):
        yield
