"""Rows that know the simulated truth: shown, never ranked, and no comparison among others."""

from __future__ import annotations

ORACLE = "oracle"


def is_oracle(method: str) -> bool:
    """Whether a row knows the simulated truth."""
    return method.startswith(ORACLE)
