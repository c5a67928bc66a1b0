"""One integer per run, and a seed of its own for each use of it. No torch: splits are drawn without it."""

from __future__ import annotations

import hashlib


def derived_seed(seed: int, *names: object) -> int:
    """A seed for one use of a run's seed, so that adding a use never changes another."""
    text = "/".join(str(part) for part in (seed, *names))
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16)
