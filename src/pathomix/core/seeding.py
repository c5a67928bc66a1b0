"""Torch's stream seeded for a while, and left as it was. Seeds themselves: `core.seeds`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's CPU stream seeded inside the block, deterministic algorithms on; both as before afterwards."""
    # The debug mode is the same switch as `use_deterministic_algorithms`, which loads torch's compiler first (seconds).
    before = torch.get_deterministic_debug_mode()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_deterministic_debug_mode("error")
        try:
            yield
        finally:
            torch.set_deterministic_debug_mode(before)
