"""Decoding, by the same code in the job's own process and in decode processes. No torch: those start in a second.

An OpenSlide handle belongs to the process that opened it, so processes get paths (spec slides_and_encoders 1.7).
"""

from __future__ import annotations

import signal
import time
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathomix.core.errors import PathomixError
from pathomix.slides.engine.plan import Part
from pathomix.slides.handles import HandleCache
from pathomix.slides.scale import Scale
from pathomix.slides.tile_reader import TileReader, read_tiles

Buffer = NDArray[np.uint8]


@dataclass(frozen=True)
class Read:
    """Tiles of one slide to be decoded together.

    Attributes:
        path: File of the slide.
        scale: Its settled physical scale.
        parts: Tiles by tiling.
    """

    path: Path
    scale: Scale
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Reply:
    """What came of a read.

    Attributes:
        good: Per part bool [n]: whether the tile could be read.
        seconds: Time spent decoding.
        error: The slide cannot be read at all; `good` is empty.
    """

    good: tuple[NDArray[np.bool_], ...]
    seconds: float
    error: PathomixError | None = None


class Decoder:
    """Decodes reads with few open handles."""

    def __init__(self) -> None:
        self._handles = HandleCache()

    def decode(self, read: Read, buffer: Buffer) -> Reply:
        """Write the pixels of all parts into a flat buffer, one after the other (`pixel_views`)."""
        start = time.perf_counter()
        try:
            slide = self._handles.open(read.path, read.scale)
            readers = [TileReader(slide, part.size, part.mpp) for part in read.parts]
        except PathomixError as error:
            return Reply((), time.perf_counter() - start, error)
        good = read_tiles(readers, [part.coords for part in read.parts], pixel_views(read, buffer))
        return Reply(tuple(good), time.perf_counter() - start)

    def close(self) -> None:
        """Close all handles."""
        self._handles.close()


def pixel_views(read: Read, buffer: Buffer) -> list[Buffer]:
    """Per part uint8 [n, size, size, 3] inside a flat buffer."""
    views, start = [], 0
    for part in read.parts:
        stop = start + part.nbytes
        views.append(buffer[start:stop].reshape(len(part.coords), part.size, part.size, 3))
        start = stop
    return views


def decode_process(connection: Connection, memory: Any, slot_bytes: int) -> None:
    """Body of a decode process: answers reads until the job's end of the pipe is closed.

    Args:
        connection: Receives (slot, read), sends `Reply` in the same order; the first message is None: ready.
        memory: Shared array of bytes, `slot_bytes` per slot.
        slot_bytes: Bytes of a slot.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the job closes the pipe
    slots = np.frombuffer(memory, dtype=np.uint8)
    decoder = Decoder()
    try:
        connection.send(None)
        while True:
            slot, read = connection.recv()
            try:
                reply: Reply | str = decoder.decode(read, slots[slot * slot_bytes : (slot + 1) * slot_bytes])
            except Exception:  # a fault of the program, told to the job rather than lost with this process
                reply = traceback.format_exc()
            connection.send(reply)
    except (EOFError, OSError):
        decoder.close()
