"""How far a download is: a bar on a terminal, else now and then a line in the log."""

from __future__ import annotations

import logging
import sys
import threading
import time
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

log = logging.getLogger(__name__)


class Progress:
    """Bytes and files fetched so far; several threads report to it.

    Args:
        files: Number of files.
        total: Their bytes, None where some size is not known.
        every_s: Seconds between two lines of the log.
        terminal: Whether to draw a bar; default: whether stderr is a terminal.
    """

    def __init__(self, files: int, total: int | None, every_s: float = 30.0, terminal: bool | None = None) -> None:
        self.files, self.total, self.every_s = files, total, every_s
        self.terminal = sys.stderr.isatty() if terminal is None else terminal
        self.done, self.bytes = 0, 0
        self._lock = threading.Lock()
        self._begin = self._last = time.monotonic()
        self._stack = ExitStack()
        self._bar: Bar | None = None

    def __enter__(self) -> Progress:
        if self.terminal:
            from rich.console import Console
            from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

            columns = (
                "{task.description}",
                BarColumn(),
                DownloadColumn(),
                TransferSpeedColumn(),
                TimeRemainingColumn(),
            )
            self._bar = self._stack.enter_context(Progress(*columns, console=Console(stderr=True)))
            self._bar.add_task(self._files(), total=self.total)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def add(self, count: int) -> None:
        """Bytes were added, or, where a file begins anew, taken away."""
        with self._lock:
            self.bytes += count
            self._show()

    def finish(self) -> None:
        """One more file is complete."""
        with self._lock:
            self.done += 1
            self._show()

    def _files(self) -> str:
        return f"{self.done} of {self.files} files"

    def _show(self) -> None:
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=self.bytes, description=self._files())
            return
        now = time.monotonic()
        if now - self._last >= self.every_s:
            self._last = now
            of = "" if self.total is None else f" of {self.total / 1e9:.2f}"
            rate = self.bytes / 1e6 / (now - self._begin)
            log.info("%s, %.2f%s GB, %.1f MB/s", self._files(), self.bytes / 1e9, of, rate)
