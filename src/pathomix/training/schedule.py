"""Learning rate of ModalTune by epoch: warm-up, then cosine (ModalTune section 5)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from pathomix.core.errors import PathomixError

Joint = Literal["released", "smooth"]


@dataclass(frozen=True)
class WarmupCosine:
    """Linear warm-up from `peak` / `start_divisor` over `warmup` epochs, then a cosine to 0.

    Attributes:
        peak: Target learning rate.
        epochs: Length of the training.
        warmup: Epochs of warm-up; the peak is reached in epoch `warmup`, counted from 0.
        start_divisor: Peak over the rate of epoch 0.
        joint: ``released``: the cosine starts one epoch late and is scaled so that its second value is the peak: the
            epoch after the peak has peak * 2 / (1 + cos(pi / (epochs - warmup))), above the target (twice it when
            two epochs follow the warm-up), and 0 is not reached. ``smooth``: the cosine goes on from the peak, and
            the epoch after the last one would have rate 0.

    Raises:
        PathomixError: A rate, length or divisor that is not positive, or an unknown joint.
    """

    peak: float
    epochs: int
    warmup: int = 10
    start_divisor: float = 20.0
    joint: Joint = "smooth"

    def __post_init__(self) -> None:
        if self.peak <= 0 or self.epochs < 1 or self.warmup < 0 or self.start_divisor < 1:
            raise PathomixError(
                f"impossible schedule {self}", remedy="peak > 0, epochs >= 1, warmup >= 0, divisor >= 1"
            )
        if self.joint not in get_args(Joint):
            raise PathomixError(f"unknown joint {self.joint}", remedy=f"one of {get_args(Joint)}")

    def rate(self, epoch: int) -> float:
        """Learning rate used in `epoch`, counted from 0."""
        if epoch < self.warmup:
            return self.peak / self.start_divisor * (1.0 + (self.start_divisor - 1.0) * epoch / self.warmup)
        step = math.pi / max(1, self.epochs - self.warmup)
        if self.joint == "smooth":
            return self.peak * (1.0 + math.cos(step * (epoch - self.warmup))) / 2.0
        if epoch == self.warmup:
            return self.peak
        return self.peak * (1.0 + math.cos(step * (epoch - self.warmup - 1))) / (1.0 + math.cos(step))
