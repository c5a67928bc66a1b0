"""Numbers with a range and with what is not known about them: nothing unknown is ever counted as zero."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pathomix.core.errors import PathomixError


@dataclass(frozen=True)
class Amount:
    """A range, or nothing but the reasons why it is not known.

    Attributes:
        low: Lower end; None where nothing is known.
        high: Upper end; None where nothing is known.
        unknown: Why it, or a part of it, is not known. A range with reasons is of the known parts only.
    """

    low: float | None = None
    high: float | None = None
    unknown: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.low is None or self.high is None:
            wrong = self.low is not self.high or not self.unknown
        else:
            wrong = not 0 <= self.low <= self.high < float("inf")
        if wrong:
            raise PathomixError(f"no range: {self.low} to {self.high}", remedy="give two numbers, 0 or more, in order")

    def __add__(self, other: Amount) -> Amount:
        reasons = _together(self.unknown, other.unknown)
        if self.low is None or self.high is None:
            return Amount(other.low, other.high, reasons)
        if other.low is None or other.high is None:
            return Amount(self.low, self.high, reasons)
        return Amount(self.low + other.low, self.high + other.high, reasons)

    def __mul__(self, other: Amount | float) -> Amount:
        factor = other if isinstance(other, Amount) else exactly(other)
        reasons = _together(self.unknown, factor.unknown)
        if self.low is None or self.high is None or factor.low is None or factor.high is None:
            return Amount(None, None, reasons)
        return Amount(self.low * factor.low, self.high * factor.high, reasons)

    def __truediv__(self, rate: Amount) -> Amount:
        reasons = _together(self.unknown, rate.unknown)
        if self.low is None or self.high is None or rate.low is None or rate.high is None:
            return Amount(None, None, reasons)
        if rate.low <= 0:
            raise PathomixError(f"a rate of {rate.low}", remedy="give rates above 0")
        return Amount(self.low / rate.high, self.high / rate.low, reasons)

    @property
    def is_known(self) -> bool:
        """Whether anything is known."""
        return self.low is not None

    def text(self, unit: str = "") -> str:
        """For people: a number, a range, ``at least`` of it where parts are unknown, or ``unknown``."""
        if self.low is None or self.high is None or (self.unknown and not self.high):
            return "unknown"
        low, high = _shown(self.low), _shown(self.high)
        span = low if low == high else f"{low} to {high}"
        return ("at least " if self.unknown else "") + f"{span} {unit}".strip()


def exactly(value: float) -> Amount:
    """A number that is known."""
    return Amount(float(value), float(value))


def unknown(reason: str) -> Amount:
    """A number of which nothing is known."""
    return Amount(None, None, (reason,))


def total(parts: Iterable[Amount]) -> Amount:
    """Sum; of nothing it is 0, of unknown parts alone it is unknown."""
    result: Amount | None = None
    for part in parts:
        result = part if result is None else result + part
    return exactly(0) if result is None else result


def _together(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*first, *second)))


def _shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.2g}"
