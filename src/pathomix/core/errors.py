"""One exception type whose message always says fact, offending ids and next step."""

from __future__ import annotations

from collections.abc import Iterable

_SHOWN = 8


class PathomixError(Exception):
    """An error a user can act on.

    Args:
        fact: What is wrong, naming the file where there is one.
        remedy: What to type or change next.
        offending: Identifiers (patients, slides, columns, keys) concerned; the first eight are shown.
    """

    def __init__(self, fact: str, *, remedy: str, offending: Iterable[object] = ()) -> None:
        self.fact = fact
        self.remedy = remedy
        self.offending = [str(item) for item in offending]
        super().__init__(str(self))

    def __str__(self) -> str:
        shown = ", ".join(self.offending[:_SHOWN])
        more = len(self.offending) - _SHOWN
        ids = f": {shown}" + (f" and {more} more" if more > 0 else "") if shown else ""
        return f"{self.fact}{ids}; {self.remedy}"

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.fact, self.remedy, self.offending)


def _rebuild(kind: type[PathomixError], fact: str, remedy: str, offending: list[str]) -> PathomixError:
    return kind(fact, remedy=remedy, offending=offending)
