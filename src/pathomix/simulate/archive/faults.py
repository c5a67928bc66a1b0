"""What a local archive does wrong."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

ALWAYS = -1


@dataclass(frozen=True)
class Faults:
    """Switches; counts are of responses per address, `ALWAYS` (-1) is every one, 0 none.

    Attributes:
        only: Regular expression; the faults concern addresses (path, and name of the file sent) in which it is found.
        unavailable: First requests answered 503 with a page of HTML.
        too_many: First requests answered 429.
        retry_after: What a 429 and 503 says: seconds, ``date`` for an HTTP date one second ahead, empty for nothing.
        cut_after: Bytes of a file after which the connection is cut.
        cuts: How many responses are cut.
        ignore_range: Ranges are answered with 200 and the whole file.
        bare_range: A 206 has no ``Content-Range``.
        wrong_bytes: How many whole responses have a wrong last byte.
        forbidden: Files (id, name or data set) that are answered 403.
        superseded: Files (id or name) that are gone, and have a newer version.
        changed_columns: Data sets whose header says something else.
        delay_s: Wait before every 64 kB of a file.
        redirect_to: Base address to which file requests are sent on.
    """

    only: str = ""
    unavailable: int = 0
    too_many: int = 0
    retry_after: str = ""
    cut_after: int = 0
    cuts: int = ALWAYS
    ignore_range: bool = False
    bare_range: bool = False
    wrong_bytes: int = 0
    forbidden: tuple[str, ...] = ()
    superseded: tuple[str, ...] = ()
    changed_columns: tuple[str, ...] = ()
    delay_s: float = 0.0
    redirect_to: str = ""

    def concern(self, *texts: str) -> bool:
        """Whether an address is meant."""
        return any(re.search(self.only, text) for text in texts)


@dataclass
class Counts:
    """How often each fault has happened at each address."""

    seen: dict[tuple[str, str], int] = field(default_factory=dict)

    def happens(self, fault: str, limit: int, address: str) -> bool:
        """Whether it happens now, and if so count it."""
        count = self.seen.get((fault, address), 0)
        if limit != ALWAYS and count >= limit:
            return False
        self.seen[fault, address] = count + 1
        return True
