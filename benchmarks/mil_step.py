"""A training step of the rows `transmil` and `mcat` against the bare network of the same sizes: same run, turn by turn.

Usage: python -m benchmarks.mil_step [--tiles N] [--patients N] [--repeats N] [--threads N]

The step of a method reads the patients of a batch (float16 in memory, z-scores of the training patients), goes forward
and backward and takes the optimiser's step. The bare network gets float32 tensors that are ready. Seconds of processor
time, so that other work on the machine does not count; what is compared is the median over the repeats.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from benchmarks.modaltune_step import SIZES
from pathomix.cohort.cases import Bag, Cases
from pathomix.losses.discrete import nll_survival_loss
from pathomix.methods.build import build_method
from pathomix.methods.network import NetworkMethod
from pathomix.nn.mcat import MCAT
from pathomix.nn.transmil import TransMIL

DIM, BINS = 1536, 4
ALLOWED = 1.2
Step = Callable[[int], None]


@dataclass(frozen=True)
class Tiles:
    """As many random tiles of every patient, float16 as in the feature store."""

    patient_ids: frozenset[str]
    tiles: int
    dim: int = DIM

    def bag(self, patient_id: str) -> Bag:
        generator = np.random.default_rng(int(patient_id[-4:]))
        features = generator.standard_normal((self.tiles, self.dim), dtype=np.float32).astype(np.float16)
        none, edge = np.zeros((self.tiles, 2), np.int32), np.full((1, 2), 256, np.float32)
        return Bag(features, none, none[:, 0], (patient_id,), edge)


def cohort(patients: int, tiles: int) -> Cases:
    """Patients with a death each, 331 pathways of the published sizes."""
    generator = np.random.default_rng(0)
    ids = pd.Index([f"SIMU-AA-{i:04d}" for i in range(patients)], name="patient_id")
    genes = [f"G{i}" for i in range(4999)]
    pathways = {
        f"P{i}": tuple(genes[j] for j in generator.choice(len(genes), size, replace=False))
        for i, size in enumerate(SIZES)
    }
    expression = generator.standard_normal((patients, len(genes)), dtype=np.float32)
    table = pd.DataFrame({"time": np.arange(1.0, patients + 1), "event": 1, "class_label": None}, ids)
    store = Tiles(frozenset(ids), tiles)
    return Cases(table, pd.DataFrame(expression, ids, genes), pathways=pathways, tiles=store)  # type: ignore[arg-type]


def of_method(name: str, cases: Cases, at_once: int) -> tuple[Step, int]:
    """One step of the method, and its number of parameters."""
    method = build_method({"method": name, "batch_size": at_once})
    assert isinstance(method, NetworkMethod)
    reader, inputs = method.read_training(cases, 0)
    head = method.head(cases, "survival")
    network, forward = method.build(reader, DIM, head, "survival")
    network.train()
    optimiser = torch.optim.Adam(network.parameters(), lr=2e-4, weight_decay=1e-5)

    def step(repeat: int) -> None:
        rows = (repeat * at_once + np.arange(at_once)) % len(cases.ids)
        loss = head.loss(method.training_outputs(forward, inputs, rows), rows)
        assert loss is not None
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()

    return step, sum(p.numel() for p in network.parameters())


def bare(name: str, tiles: int, at_once: int) -> tuple[Step, int]:
    """One step of the network alone, and its number of parameters."""
    network: nn.Module
    given: tuple[object, ...]
    bags = torch.randn(at_once, tiles, DIM)
    if name == "transmil":
        network, given = TransMIL(DIM, 512, BINS), (bags,)
    else:
        network, given = MCAT(DIM, SIZES, 256, 256, 512, BINS), (tuple(bags), torch.randn(at_once, sum(SIZES)))
    network.train()
    optimiser = torch.optim.Adam(network.parameters(), lr=2e-4, weight_decay=1e-5)
    label, event = torch.zeros(at_once, dtype=torch.long), torch.ones(at_once)

    def step(repeat: int) -> None:
        output = network(*given)
        logits: Tensor = output if isinstance(output, Tensor) else output.logits
        loss = nll_survival_loss(logits, label, event)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()

    return step, sum(p.numel() for p in network.parameters())


def compare(name: str, tiles: int, at_once: int, repeats: int) -> None:
    """Print one row."""
    ours, parameters = of_method(name, cohort(max(8, 2 * at_once), tiles), at_once)
    theirs, same = bare(name, tiles, at_once)
    assert parameters == same, f"{name}: {parameters} parameters, the bare network has {same}"
    seconds: dict[str, list[float]] = {"ours": [], "bare": []}
    for repeat in range(repeats + 1):
        for kind, step in (("ours", ours), ("bare", theirs)):
            start = time.process_time()
            step(repeat)
            # The first pass warms up.
            if repeat:
                seconds[kind].append(time.process_time() - start)
    own, other = median(seconds["ours"]), median(seconds["bare"])
    verdict = "yes" if own / other <= ALLOWED else "no"
    print(f"| {name} | {at_once} | {own:.3f} | {other:.3f} | {own / other:.2f} | {verdict} |", flush=True)


def main() -> None:
    """Both methods."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiles", type=int, default=4000)
    parser.add_argument("--patients", type=int, nargs="+", default=[1, 2], help="patients per step")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    load = f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors"
    print(f"{options.tiles:,} tiles x {DIM}, float32; {load}\n")
    print(f"| network | patients | method (s) | bare (s) | ratio | within {ALLOWED} |\n|---|---|---|---|---|---|")
    for name in ("transmil", "mcat"):
        for at_once in options.patients:
            compare(name, options.tiles, at_once, options.repeats)


if __name__ == "__main__":
    main()
