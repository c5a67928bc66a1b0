"""The Cox loss, forward and backward, against torchsurv and the definition with its whole mask: one thread, same run.

The three take turns, so that other work on the machine falls on all of them. Differences are from the definition in
float64: of the loss relative to it, of the gradient relative to its largest entry.

Usage: python -m benchmarks.cox_loss
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable
from functools import partial
from statistics import median

import torch
from torch import Tensor
from torchsurv.loss.cox import neg_partial_log_likelihood

from pathomix.losses.cox import cox_loss

# Patients to the repeats, all and those in which the definition takes part.
REPEATS = {32: (300, 300), 1_000: (100, 30), 10_000: (50, 3)}
Loss = Callable[[Tensor], Tensor]


def outcome(count: int, whole_months: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Log hazards, months and events: a planted hazard, a third of the patients censored."""
    generator = torch.Generator().manual_seed(0)
    theta = torch.randn(count, generator=generator)
    months = 30 * torch.empty(count, dtype=torch.float64).exponential_(generator=generator) / theta.double().exp()
    event = torch.rand(count, generator=generator) < 0.66
    return theta, (months.ceil() if whole_months else months), event


def definition(theta: Tensor, months: Tensor, event: Tensor) -> Tensor:
    """One masked log-sum-exp per event, [events, n] at once."""
    outside = months[None] < months[event][:, None]
    return (theta.expand(outside.shape).masked_fill(outside, -torch.inf).logsumexp(1) - theta[event]).sum()


def passed(loss: Loss, theta: Tensor) -> tuple[float, float, Tensor]:
    """Seconds of forward and backward, the loss and its gradient."""
    variable = theta.clone().requires_grad_()
    start = time.perf_counter()
    value = loss(variable)
    value.backward()
    seconds = time.perf_counter() - start
    assert variable.grad is not None
    return seconds, value.item(), variable.grad


def compare(count: int, whole_months: bool) -> None:
    """Print the rows of one table block."""
    theta, months, event = outcome(count, whole_months)
    losses: dict[str, Loss] = {
        "ours": lambda x: cox_loss(x, months, event, "paper"),
        "torchsurv": partial(
            neg_partial_log_likelihood, event=event, time=months, ties_method="breslow", reduction="sum"
        ),
        "definition": lambda x: definition(x, months, event),
    }
    _, exact, slope = passed(losses["definition"], theta.double())
    seconds: dict[str, list[float]] = {name: [] for name in losses}
    differences = {}
    rounds, shared = REPEATS[count]
    for repeat in range(rounds + 1):
        for name, loss in losses.items():
            if name == "definition" and repeat > shared:
                continue
            taken, value, gradient = passed(loss, theta)
            differences[name] = abs(value / exact - 1), float((gradient - slope).abs().max() / slope.abs().max())
            # The first pass warms up.
            if repeat:
                seconds[name].append(taken)
    own = median(seconds["ours"])
    times = "whole months" if whole_months else "exact"
    for name, taken_all in seconds.items():
        taken = median(taken_all)
        apart = " | ".join(f"{difference:.0e}" for difference in differences[name])
        print(f"| {count:,} | {times} | {name} | {1e3 * taken:.3f} | {taken / own:.1f} | {apart} |", flush=True)


def main() -> None:
    """All sizes, with and without tied times."""
    warnings.simplefilter("ignore")  # torchsurv warns of every tie.
    torch.set_num_threads(1)
    print(f"float32, sum over events, Breslow; load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors\n")
    print("| patients | times | loss | median ms | over ours | difference of the loss | of the gradient |")
    print("|---|---|---|---|---|---|---|")
    for count in REPEATS:
        for whole_months in (False, True):
            compare(count, whole_months)
    print(f"\nload average at the end {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
