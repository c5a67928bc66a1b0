"""The growing `NAME.part` of a download: locked, hashed as it grows, published under its name by one rename."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from pathomix.core.errors import PathomixError

log = logging.getLogger(__name__)

_CHUNK = 1 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def part_path(target: Path) -> Path:
    """Where a file grows until it is complete; no rule declares such a name."""
    return target.with_name(target.name + ".part")


class Part:
    """A context in which this process alone adds to the part of `target`.

    What an earlier run has left is read once, to continue its digest.

    Args:
        target: Final name.
        algorithm: ``md5`` or ``sha256``.
        moved: Told how many bytes were added, or (negative) given up.
    """

    def __init__(self, target: Path, algorithm: str, moved: Callable[[int], object] = lambda count: None) -> None:
        self.target, self.path, self.algorithm = target, part_path(target), algorithm
        self.size = 0
        self._moved = moved
        self._descriptor = -1
        self._ended = False
        self._digest = self._fresh()
        # Which version of the remote file the part belongs to, where no checksum can tell.
        self._validator = target.with_name(f".{target.name}.part.version")

    def __enter__(self) -> Part:
        with _told(self.target):
            self.target.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = _open_locked(self.path)
            while chunk := os.read(self._descriptor, _CHUNK):
                self._digest.update(chunk)
                self.size += len(chunk)
        if self.size:
            log.info("%s: %d bytes are there", self.path, self.size)
            self._moved(self.size)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor >= 0:
            if self.size == 0 and not self._ended:
                self.discard()
            os.close(self._descriptor)
        self._descriptor = -1

    @property
    def hexdigest(self) -> str:
        """Digest of what is there."""
        return self._digest.hexdigest()

    @property
    def validator(self) -> str:
        """ETag or date of the remote file the part was begun from; empty where it is not known."""
        try:
            return self._validator.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError):
            return ""

    def begin(self, validator: str) -> None:
        """Start from nothing, with the version of the remote file that follows."""
        self.restart()
        with _told(self.target):
            if validator.isascii() and validator:
                self._validator.write_text(validator, encoding="ascii")
            else:
                self._validator.unlink(missing_ok=True)

    def restart(self) -> None:
        """Give up what is there."""
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        self._moved(-self.size)
        self.size = 0
        self._digest = self._fresh()

    def append(self, chunk: bytes, total: int | None) -> None:
        """Add bytes; `total` (of the whole file, where known) is for the message of a full disk.

        Raises:
            PathomixError: The disk is full; the part stays, and stays the beginning of the file.
        """
        view = memoryview(chunk)
        with _told(self.path, lambda: None if total is None else total - self.size):
            while view:
                written = os.write(self._descriptor, view)
                self._digest.update(view[:written])
                self.size += written
                self._moved(written)
                view = view[written:]

    def publish(self) -> None:
        """Flush to disk and give the file its name."""
        with _told(self.target):
            os.fsync(self._descriptor)
            os.fchmod(self._descriptor, 0o644)
            self.path.replace(self.target)
            self._ended = True
            self._validator.unlink(missing_ok=True)

    def discard(self) -> None:
        """Delete the part."""
        self._ended = True
        self.path.unlink(missing_ok=True)
        self._validator.unlink(missing_ok=True)

    def _fresh(self) -> hashlib._Hash:
        return hashlib.new(self.algorithm, usedforsecurity=False)


def require_space(folder: Path, needed: int) -> None:
    """Refuse to begin what cannot fit.

    Raises:
        PathomixError: Names the folder, the bytes needed and the bytes free.
    """
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise _full(folder, needed, free)


@contextmanager
def _told(path: Path, missing: Callable[[], int | None] = lambda: None) -> Iterator[None]:
    """Turns errors of the file system into sentences."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            free = 0
            with suppress(OSError):
                free = shutil.disk_usage(path.parent).free
            raise _full(path, missing(), free, error.strerror or "") from None
        raise PathomixError(
            f"{path}: cannot be written ({error.strerror})", remedy="choose a folder that can be written"
        ) from None


def _full(path: Path, needed: int | None, free: int, cause: str = "no space left") -> PathomixError:
    missing = "an unknown number of" if needed is None else f"{needed:,}"
    return PathomixError(
        f"{path}: {cause}: {missing} more bytes are needed, {free:,} are free to this job",
        remedy="make room (or raise the limit) and start again: what was fetched is kept",
    )


def _open_locked(path: Path) -> int:
    """Open the part for this process alone; waits for another job that fetches the same file."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            _lock(descriptor, path)
            # The other job may have renamed or deleted the file while this one waited.
            with suppress(FileNotFoundError):
                if path.stat().st_ino == os.fstat(descriptor).st_ino:
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _lock(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        log.info("%s: another job is fetching it; waiting", path)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        # Some network file systems know no locks; the checksum still tells.
        log.warning("%s: no file locks here (%s)", path, error.strerror)
