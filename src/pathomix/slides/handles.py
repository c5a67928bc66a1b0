"""A few open slides per process (spec slides_and_encoders 1.7)."""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path

from pathomix.slides.reader import Slide, open_scaled
from pathomix.slides.scale import Scale

MAX_HANDLES = 4


class HandleCache:
    """Open slides of this process; the one not used for longest is closed first.

    A handle belongs to the process that opened it: after a fork the child opens its own. Not for several threads.

    Args:
        capacity: Most slides open at a time.
    """

    def __init__(self, capacity: int = MAX_HANDLES) -> None:
        self.capacity = capacity
        self._pid = os.getpid()
        self._open: OrderedDict[tuple[Path, Scale], Slide] = OrderedDict()

    def __enter__(self) -> HandleCache:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self, path: Path, scale: Scale) -> Slide:
        """The slide, open; do not close it.

        Raises:
            PathomixError: The file is missing or cannot be opened.
        """
        if self._pid != os.getpid():
            self._open, self._pid = OrderedDict(), os.getpid()
        key = path, scale
        slide = self._open.pop(key, None) or open_scaled(path, scale)
        while len(self._open) >= self.capacity:
            self._open.popitem(last=False)[1].close()
        self._open[key] = slide
        return slide

    def close(self) -> None:
        """Close all slides."""
        while self._open:
            self._open.popitem()[1].close()
