"""Where the time of a slide went. For the log only: artefacts must not depend on a clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class Speed:
    """Times of one slide.

    Attributes:
        wall: Seconds since the slide before was finished.
        decode: Seconds of decoding, summed over processes.
        read: Tiles decoded.
        waited: Seconds the job waited for decoded tiles.
        blocked: Seconds the job waited for the device (on a CPU: encoded).
        busy: Seconds the device encoded, by encoder.
        encoded: Tiles encoded, by encoder.
        workers: Decode processes; 0 for the job's own.
    """

    workers: int = 0
    wall: float = 0.0
    decode: float = 0.0
    read: int = 0
    waited: float = 0.0
    blocked: float = 0.0
    busy: dict[str, float] = field(default_factory=dict)
    encoded: dict[str, int] = field(default_factory=dict)

    @property
    def limit(self) -> str:
        """The slower side: ``reading`` or ``encoding``."""
        return "reading" if self.waited > self.blocked else "encoding"

    def line(self) -> str:
        """One line for the log, `key=value`."""
        rates = " ".join(f"encode[{name}]={_rate(self.encoded[name], self.busy[name])}" for name in sorted(self.busy))
        share = sum(self.busy.values()) / self.wall if self.wall else 0.0
        return (
            f"seconds={self.wall:.2f} read={_rate(self.read, self.decode / max(1, self.workers))} {rates} "
            f"busy={share:.0%} limit={self.limit}"
        )


def difference(after: Mapping[str, float], before: Mapping[str, float]) -> dict[str, float]:
    """Growth of counters by name."""
    return {name: value - before.get(name, 0) for name, value in after.items()}


def _rate(count: float, seconds: float) -> str:
    return f"{count / seconds:.0f}/s" if seconds > 0 else "-"
