"""Features of a slide on their way: blocks appended to a plain file, each with its checksum and flushed to disk.

A killed HDF5 writer can leave a file nobody can open; here whatever a killed job leaves is a valid beginning. The
finished file is converted in one atomic step (`feature_file`).
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from pathomix.slides.engine.parameters import JobError

log = logging.getLogger(__name__)

_SUFFIX = ".partial"
_DIGEST = 32


@dataclass(frozen=True)
class Layout:
    """What a partial file holds; one that says otherwise is started again.

    Attributes:
        key: Content key of the feature file.
        tiles: Tiles of the slide.
        dim: Feature width.
        block: Tiles per block.
        batch: Tiles per forward pass: other batches would round otherwise.
    """

    key: str
    tiles: int
    dim: int
    block: int
    batch: int

    def header(self) -> bytes:
        """First line of the file."""
        return b"pathomix partial features " + json.dumps(vars(self), sort_keys=True).encode() + b"\n"

    def count(self, number: int) -> int:
        """Tiles of a block."""
        return min(self.block, self.tiles - number * self.block)

    def offset(self, number: int) -> int:
        """Place of a block in the file."""
        return len(self.header()) + number * (_DIGEST + self.block * self._tile_bytes)

    def size(self, number: int) -> int:
        """Bytes of a block without its checksum."""
        return self.count(number) * self._tile_bytes

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return -(-self.tiles // self.block)

    @property
    def _tile_bytes(self) -> int:
        return 1 + 2 * self.dim


class PartialFile:
    """Blocks of features in the order of reading, resumed where an earlier job stopped.

    Only one job writes a file at a time. A second one on the same slide, or any job where the file system has no locks,
    writes a file of its own that nothing is resumed from.

    Args:
        target: Feature file that it becomes; the partial file lies beside it.
        layout: What it holds.

    Attributes:
        path: The file; for messages.
        blocks: Blocks that are safe on disk.
        bad: Tiles among them that could not be read.

    Raises:
        JobError: The file cannot be opened or written.
    """

    def __init__(self, target: Path, layout: Layout) -> None:
        self.layout = layout
        self.path = target.with_name(f".{target.stem}.{layout.key}{_SUFFIX}")
        self.blocks, self.bad = 0, 0
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            _sweep(target, self.path, len(layout.key))
            self._file = _locked(self.path) or _private(target)
            self._named = os.fstat(self._file.fileno()).st_nlink > 0
            self._resume()
        except OSError as error:
            raise self._unwritable(error) from error

    @property
    def tiles(self) -> int:
        """Tiles that are safe on disk."""
        return min(self.blocks * self.layout.block, self.layout.tiles)

    @property
    def complete(self) -> bool:
        """Whether all blocks are there."""
        return self.blocks == self.layout.blocks

    def append(self, features: NDArray[np.float16], good: NDArray[np.bool_]) -> None:
        """Write the next block and wait until it is on disk.

        Args:
            features: float16 [n, dim], n as the layout says.
            good: bool [n]: whether the tile could be read.

        Raises:
            JobError: It cannot be written; the blocks before it stay.
        """
        content = good.astype(np.uint8).tobytes() + np.ascontiguousarray(features, dtype="<f2").tobytes()
        if len(content) != self.layout.size(self.blocks):
            raise ValueError(f"a block of {self.layout.size(self.blocks)} bytes was given as {len(content)}")
        try:
            self._file.seek(self.layout.offset(self.blocks))
            self._file.write(hashlib.sha256(content).digest() + content)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._unwritable(error) from error
        self.blocks += 1
        self.bad += int((~good).sum())

    def read(self, order: NDArray[np.int64]) -> tuple[NDArray[np.float16], NDArray[np.bool_]]:
        """All features, float16 [tiles, dim], and bool [tiles] which could be read.

        Args:
            order: int64 [tiles], place of each written tile in the result.
        """
        layout = self.layout
        features = np.empty((layout.tiles, layout.dim), dtype=np.float16)
        good = np.empty(layout.tiles, dtype=bool)
        for number in range(layout.blocks):
            self._file.seek(layout.offset(number) + _DIGEST)
            content = self._file.read(layout.size(number))
            count = layout.count(number)
            place = order[number * layout.block : number * layout.block + count]
            good[place] = np.frombuffer(content[:count], dtype=np.uint8) > 0
            features[place] = np.frombuffer(content[count:], dtype="<f2").reshape(count, layout.dim)
        return features, good

    def close(self) -> None:
        """Free the lock; the blocks stay for the next job."""
        try:
            self._file.close()
        except OSError:  # what could not be flushed was no finished block
            log.debug("%s: could not be closed", self.path)

    def discard(self) -> None:
        """Remove the file."""
        if self._named:
            self.path.unlink(missing_ok=True)
        self.close()

    def _resume(self) -> None:
        """Count the blocks that are whole; cut off the rest."""
        header = self.layout.header()
        self._file.seek(0)
        if self._file.read(len(header)) == header:
            while self.blocks < self.layout.blocks and self._whole(self.blocks):
                self.blocks += 1
        else:
            self._file.seek(0)
            self._file.write(header)
        self._file.flush()
        if not self.complete:
            self._file.truncate(self.layout.offset(self.blocks))

    def _whole(self, number: int) -> bool:
        self._file.seek(self.layout.offset(number))
        digest = self._file.read(_DIGEST)
        content = self._file.read(self.layout.size(number))
        if len(content) != self.layout.size(number) or hashlib.sha256(content).digest() != digest:
            return False
        self.bad += content[: self.layout.count(number)].count(0)
        return True

    def _unwritable(self, error: OSError) -> JobError:
        return JobError(
            f"{self.path}: cannot be written ({error})",
            remedy="free space there (blocks already written are kept) and run again",
        )


def _locked(path: Path) -> BinaryIO | None:
    """The file, open and locked; None where another job has it, or where there are no locks."""
    while True:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.close()
            log.info("%s: in use or not lockable (%s); writing a copy of its own", path, error)
            return None
        try:
            if os.fstat(file.fileno()).st_ino == path.stat().st_ino:
                return file
        except FileNotFoundError:
            log.debug("%s: its owner just finished", path)
        file.close()  # another job removed it between opening and locking


def _private(target: Path) -> BinaryIO:
    """A file without a name: it goes with the job."""
    return tempfile.TemporaryFile("w+b", dir=target.parent)


def _sweep(target: Path, own: Path, length: int) -> None:
    """Remove what jobs with other weights, tiles or numbers left of this slide, unless one is at it now."""
    for path in target.parent.glob(f".{_escaped(target.stem)}.{'?' * length}{_SUFFIX}"):
        if path != own and (file := _locked(path)) is not None:
            path.unlink(missing_ok=True)
            file.close()


def _escaped(stem: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in stem)
