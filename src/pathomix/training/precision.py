"""Numeric precision of training: where autocast is used, and loss scaling."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pathomix.core.errors import PathomixError

PRECISIONS = ("float32", "bf16", "fp16")

# Spec modaltune 5: the released training starts its loss scaler there.
_INITIAL_SCALE = 2.0**15
_SMALLEST_SCALE = 2.0**-14


def choose_device(name: str) -> torch.device:
    """The device called `cpu`, `cuda`, or `auto` (cuda where there is one).

    Raises:
        PathomixError: cuda is asked for where there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise PathomixError("device is 'cuda' and this machine has none", remedy="set `device: auto` or `device: cpu`")
    if name != "cpu" and torch.cuda.is_available():
        # Deterministic algorithms are on while training; cuBLAS has them only with a workspace of fixed size.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    return torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")


class Precision:
    """Autocast and loss scaling of one training run.

    fp16 needs a CUDA device; on the CPU it means float32, because half precision is neither fast nor stable there.

    Args:
        name: ``float32``, ``bf16`` (autocast), or ``fp16`` (autocast with a loss scaler that starts at 2^15).
        device: Where the network is.

    Raises:
        PathomixError: Unknown name.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        if name not in PRECISIONS:
            raise PathomixError(f"precision is {name!r}", remedy=f"use one of {list(PRECISIONS)}")
        self.name = "float32" if name == "fp16" and device.type == "cpu" else name
        self._device = device
        scaled = self.name == "fp16"
        self._scaler = torch.amp.grad_scaler.GradScaler(device.type, init_scale=_INITIAL_SCALE, enabled=scaled)

    def autocast(self) -> torch.autocast:
        """Context of the forward pass."""
        dtype = torch.float16 if self.name == "fp16" else torch.bfloat16
        return torch.autocast(self._device.type, dtype=dtype, enabled=self.name != "float32")

    def scaled(self, loss: Tensor) -> Tensor:
        """The loss to take gradients of; `step` takes the scale off again."""
        return self._scaler.scale(loss)

    def step(self, optimiser: torch.optim.Optimizer) -> None:
        """One step of the optimiser; under fp16 a step whose gradients overflow is left out and the scale halved.

        Raises:
            PathomixError: The scale has become so small that gradients are not finite at any scale.
        """
        self._scaler.step(optimiser)
        self._scaler.update()
        if self._scaler.is_enabled() and self._scaler.get_scale() < _SMALLEST_SCALE:
            raise PathomixError(
                "fp16 training: gradients overflow at every loss scale", remedy="set `precision: bf16` or float32"
            )

    def state(self) -> dict[str, Any]:
        """State of the loss scaler, empty without one."""
        return dict(self._scaler.state_dict())

    def restore(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state`."""
        if self._scaler.is_enabled():
            self._scaler.load_state_dict(dict(state))
