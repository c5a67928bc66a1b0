"""What the checkers of golden sets share: a set, a comparison, the table of checkers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from safetensors.numpy import load_file


class Result(NamedTuple):
    """One line: a tensor of a set, its largest error against its tolerance, and what became of it."""

    set: str
    tensor: str
    error: float
    tolerance: float
    status: str
    reason: str = ""

    def __str__(self) -> str:
        if self.status == "unsupported":
            return f"{self.set} {self.tensor} unsupported: {self.reason}"
        line = f"{self.set} {self.tensor} max_error={self.error:.3g} tolerance={self.tolerance:.3g} {self.status}"
        return line + (f": {self.reason}" if self.reason else "")


Checker = Callable[["GoldenSet"], Iterator[Result]]
CHECKERS: dict[str, Checker] = {}


def checker(*prefixes: str) -> Callable[[Checker], Checker]:
    """Register a checker for all sets whose folder name starts with one of the prefixes (the longest one wins)."""

    def register(function: Checker) -> Checker:
        CHECKERS.update(dict.fromkeys(prefixes, function))
        return function

    return register


@dataclass
class GoldenSet:
    """One folder with `config.json`, `tensors.safetensors` and perhaps `weights.safetensors`.

    Attributes:
        path: The folder.
        seen: Tensors that served as input or were reported on; what remains is reported as unsupported.
    """

    path: Path
    seen: set[str] = field(default_factory=set)

    @property
    def name(self) -> str:
        return self.path.name

    @cached_property
    def config(self) -> dict[str, Any]:
        config: dict[str, Any] = json.loads((self.path / "config.json").read_text(encoding="utf-8"))
        return config

    @cached_property
    def tensors(self) -> dict[str, NDArray[Any]]:
        return load_file(self.path / "tensors.safetensors")

    def weights(self) -> dict[str, Any]:
        """State dict as torch tensors."""
        from safetensors.torch import load_file as load_torch

        return load_torch(self.path / "weights.safetensors")

    def input(self, name: str) -> NDArray[Any]:
        """A tensor used as input."""
        self.seen.add(name)
        return self.tensors[name]

    def tolerance(self, *keys: str) -> float:
        """The first of these keys in the tolerances of the set."""
        given = self.config["tolerance"]
        return float(next(given[key] for key in keys if key in given))

    def compare(self, name: str, ours: ArrayLike, tolerance: float, relative: bool = False) -> Result:
        """Compare with an expected tensor.

        Args:
            name: Tensor name.
            ours: What the package computes; axes of size 1 do not count.
            tolerance: Largest error allowed.
            relative: Whether errors are taken relative to the largest expected magnitude.
        """
        self.seen.add(name)
        return self.compare_with(name, ours, self.tensors[name], tolerance, relative)

    def compare_with(
        self, name: str, ours: ArrayLike, expected: ArrayLike, tolerance: float, relative: bool = False
    ) -> Result:
        """Compare with any expected value, for instance one from `config.json`."""
        want = np.squeeze(np.asarray(expected)).astype(np.float64)
        have = np.squeeze(np.asarray(ours)).astype(np.float64)
        if want.shape != have.shape:
            return Result(self.name, name, np.inf, tolerance, "fail", f"shape {have.shape}, expected {want.shape}")
        finite = np.isfinite(want)
        if not np.array_equal(want[~finite], have[~finite], equal_nan=True):
            return Result(self.name, name, np.inf, tolerance, "fail", "NaN or infinity in other places")
        magnitude = float(np.abs(want[finite]).max(initial=0.0)) if relative else 1.0
        error = float(np.abs(have[finite] - want[finite]).max(initial=0.0)) / (magnitude or 1.0)
        return Result(self.name, name, error, tolerance, "pass" if error <= tolerance else "fail")

    def unsupported(self, name: str, reason: str) -> Result:
        """A tensor the package does not compute."""
        self.seen.add(name)
        return Result(self.name, name, np.nan, np.nan, "unsupported", reason)


def torch_inputs(golden: GoldenSet, name: str) -> Any:
    """An input as torch tensor."""
    import torch

    return torch.from_numpy(golden.input(name).copy())
