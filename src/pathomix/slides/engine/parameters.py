"""Parameters of the embedding engine (section `embedding` of the configuration). No torch: the plan reads it too."""

from __future__ import annotations

from dataclasses import dataclass

from pathomix.core.errors import PathomixError

AUTO = "auto"
DEVICES = (AUTO, "cpu", "cuda")
PRECISIONS = (AUTO, "fp32", "bf16", "fp16")


class JobError(PathomixError):
    """Not the fault of a slide: ends the job instead of quarantining one."""


@dataclass(frozen=True)
class EngineParameters:
    """How slides are embedded; `precision`, `device` and `compile` are part of the content key, the others are not.

    Attributes:
        batch_size: Tiles per forward pass. ``auto``: 32 on a CPU; on a GPU the largest power of two up to 512 that fits
            its memory.
        workers: Decode processes. ``auto``: as many as threads on a GPU; a quarter of the threads on a CPU, none (the
            job's own process decodes) where it has one thread.
        prefetch: Regions that may be decoded ahead, across slides; bounds the memory. ``auto``: two per process and
            two.
        precision: ``fp32``, ``bf16`` or ``fp16``. ``auto``: bf16 on a GPU, fp32 on a CPU.
        compile: Compile the network first; pays off from some ten thousand tiles on.
        device: ``cpu`` or ``cuda``. ``auto``: the GPU where there is one.
        block: Tiles after which features are safe on disk: what a killed job has to repeat at most.
        max_bad_share: A slide with a larger share of unreadable tiles is quarantined.
    """

    batch_size: int | str = AUTO
    workers: int | str = AUTO
    prefetch: int | str = AUTO
    precision: str = AUTO
    compile: bool = False
    device: str = AUTO
    block: int = 2048
    max_bad_share: float = 0.01

    def checked(self) -> EngineParameters:
        """Itself.

        Raises:
            PathomixError: A value that cannot be used.
        """
        wrong = []
        for name, least in (("batch_size", 1), ("workers", 0), ("prefetch", 1)):
            value = getattr(self, name)
            if value != AUTO and (not isinstance(value, int) or isinstance(value, bool) or value < least):
                wrong.append(f"{name} is auto or a whole number from {least}")
        if self.device not in DEVICES:
            wrong.append(f"device is one of {DEVICES}")
        if self.precision not in PRECISIONS:
            wrong.append(f"precision is one of {PRECISIONS}")
        if not isinstance(self.compile, bool):
            wrong.append("compile is true or false")
        if not isinstance(self.block, int) or isinstance(self.block, bool) or self.block < 1:
            wrong.append("block is a whole number from 1")
        if not 0 <= self.max_bad_share <= 1:
            wrong.append("max_bad_share lies between 0 and 1")
        if wrong:
            raise PathomixError(f"embedding: {'; '.join(wrong)}", remedy="correct the configuration")
        return self

    def processes(self, device: str, threads: int) -> int:
        """Decode processes of a job with so many threads on a device (``cpu`` or ``cuda``)."""
        if self.workers != AUTO:
            return int(self.workers)
        if device == "cuda":
            return threads
        return 0 if threads < 2 else max(1, threads // 4)

    def regions(self, workers: int) -> int:
        """Regions decoded ahead; at least one per decode process."""
        return 2 * workers + 2 if self.prefetch == AUTO else max(int(self.prefetch), workers)
