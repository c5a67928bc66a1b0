"""Seeds: one integer per run, a private stream per use, and the global stream left as it was."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derived_seed(seed: int, *names: object) -> int:
    """A seed for one use of a run's seed, so that adding a use never changes another."""
    text = "/".join(str(part) for part in (seed, *names))
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16)


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
