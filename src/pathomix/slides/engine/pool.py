"""Reads in, decoded pixels out in the same order: by the job's own process, or by processes that run ahead of it.

A process that dies is noticed by its sentinel, replaced, and its read repeated once; each process has a pipe of its
own, so that one that is killed cannot block the others.
"""

from __future__ import annotations

import ctypes
import logging
import multiprocessing
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from pathomix.core.errors import PathomixError
from pathomix.slides.engine.decode import Buffer, Decoder, Read, Reply, decode_process, pixel_views
from pathomix.slides.engine.parameters import JobError

log = logging.getLogger(__name__)

_TRIES = 2

Tag = TypeVar("Tag")


@dataclass
class Decoded(Generic[Tag]):
    """A read that came back, or a mark without a read.

    Attributes:
        tag: What the caller gave with it.
        read: The read; None for a mark.
        reply: What came of it.
        pixels: Per part uint8 [n, size, size, 3]; valid until the next one is asked for.
    """

    tag: Tag
    read: Read | None
    reply: Reply | None = None
    pixels: list[Buffer] = field(default_factory=list)


class Pool(Protocol):
    """What the engine needs of a decoder."""

    workers: int

    def stream(self, items: Iterator[tuple[Tag, Read | None]]) -> Iterator[Decoded[Tag]]:
        """Decode reads; answers in the order of the items, whose iterator is drawn ahead. None is handed through."""
        ...

    def close(self) -> None:
        """Free handles and processes."""
        ...


class OwnProcess:
    """Decodes in the job's own process."""

    def __init__(self, slot_bytes: int) -> None:
        self.workers = 0
        self._decoder = Decoder()
        self._buffer = np.zeros(slot_bytes, dtype=np.uint8)

    def stream(self, items: Iterator[tuple[Tag, Read | None]]) -> Iterator[Decoded[Tag]]:
        """See `Pool`."""
        for tag, read in items:
            if read is None:
                yield Decoded(tag, None)
            else:
                reply = self._decoder.decode(read, self._buffer)
                yield Decoded(tag, read, reply, pixel_views(read, self._buffer))

    def close(self) -> None:
        """See `Pool`."""
        self._decoder.close()


@dataclass
class _Ticket(Generic[Tag]):
    decoded: Decoded[Tag]
    slot: int = -1
    deaths: int = 0

    @property
    def done(self) -> bool:
        return self.decoded.read is None or self.decoded.reply is not None


@dataclass(eq=False)
class _Worker:
    process: BaseProcess
    connection: Connection
    queue: deque[_Ticket[Any]] = field(default_factory=deque)
    ready: bool = False


class Processes:
    """Decodes in processes of their own, through shared memory.

    Args:
        workers: Number of processes, at least 1.
        regions: Reads that may be decoded ahead.
        slot_bytes: Bytes that hold the pixels of any read.
    """

    def __init__(self, workers: int, regions: int, slot_bytes: int) -> None:
        self.workers = workers
        self._slot_bytes = slot_bytes
        # not the start method of the platform: a forked OpenSlide handle or thread pool is not safe to use
        self._context = multiprocessing.get_context("spawn")
        # unlinked at once by the standard library: nothing is left behind by a killed job
        self._memory = self._context.RawArray(ctypes.c_uint8, regions * slot_bytes)
        self._slots: Buffer = np.frombuffer(self._memory, dtype=np.uint8)  # type: ignore[call-overload]
        self._free = list(range(regions))
        self._workers = [self._start() for _ in range(workers)]

    def stream(self, items: Iterator[tuple[Tag, Read | None]]) -> Iterator[Decoded[Tag]]:
        """See `Pool`.

        Raises:
            JobError: The decode processes cannot be started.
        """
        waiting: deque[_Ticket[Tag]] = deque()
        more = True
        while True:
            while more and self._free:
                item = next(items, None)
                if item is None:
                    more = False
                    break
                waiting.append(_Ticket(Decoded(*item)))
                if item[1] is not None:
                    waiting[-1].slot = self._free.pop()
                    self._submit(waiting[-1])
            if not waiting:
                return
            self._collect(0)
            while not waiting[0].done:
                self._collect(None)
            ticket = waiting.popleft()
            if ticket.decoded.read is not None:
                ticket.decoded.pixels = pixel_views(ticket.decoded.read, self._slot(ticket.slot))
            yield ticket.decoded
            if ticket.slot >= 0:
                self._free.append(ticket.slot)

    def close(self) -> None:
        """See `Pool`."""
        for worker in self._workers:
            worker.connection.close()
        for worker in self._workers:
            worker.process.join(timeout=1)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
        self._workers = []

    def _slot(self, number: int) -> Buffer:
        return self._slots[number * self._slot_bytes : (number + 1) * self._slot_bytes]

    def _start(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        arguments = (theirs, self._memory, self._slot_bytes)
        process = self._context.Process(target=decode_process, args=arguments, daemon=True, name="decode")
        process.start()
        theirs.close()
        return _Worker(process, ours)

    def _submit(self, ticket: _Ticket[Any]) -> None:
        worker = min(self._workers, key=lambda w: len(w.queue))
        worker.queue.append(ticket)
        try:
            worker.connection.send((ticket.slot, ticket.decoded.read))
        except OSError:  # it died: its sentinel says so, and `_bury` takes care of its queue
            log.debug("decode process %s does not take reads", worker.process.pid)

    def _collect(self, timeout: float | None) -> None:
        """Take what processes have answered, waiting up to `timeout` seconds (None: until there is something)."""
        owners: dict[Any, _Worker] = {}
        for worker in self._workers:
            owners[worker.connection] = owners[worker.process.sentinel] = worker
        for worker in {id(owners[source]): owners[source] for source in wait(list(owners), timeout)}.values():
            if not self._receive(worker):
                self._bury(worker)

    def _receive(self, worker: _Worker) -> bool:
        """Answers of one process; False if it is dead."""
        try:
            while worker.connection.poll():
                message = worker.connection.recv()
                if message is None:
                    worker.ready = True
                elif isinstance(message, str):
                    raise RuntimeError(f"decoding failed in a process of its own:\n{message}")
                else:
                    worker.queue.popleft().decoded.reply = message
        except (EOFError, OSError):
            return False
        return worker.process.is_alive()

    def _bury(self, worker: _Worker) -> None:
        """Replace a dead process; the read it died on is repeated once, those behind it go on."""
        worker.process.join()
        worker.connection.close()
        code = worker.process.exitcode
        if not worker.ready:
            raise JobError(
                f"a decode process ended with code {code} before its first read",
                remedy="set embedding.workers to 0 to decode in the job's own process, or give the job more memory",
            )
        self._workers[self._workers.index(worker)] = self._start()
        for number, ticket in enumerate(worker.queue):
            ticket.deaths += number == 0
            read = ticket.decoded.read
            assert read is not None
            if ticket.deaths < _TRIES:
                log.warning("%s: a decode process ended with code %s; reading again", read.path.name, code)
                self._submit(ticket)
                continue
            x, y = read.parts[0].coords[0].tolist()
            error = PathomixError(
                f"{read.path.name}: the decode process ended {_TRIES} times (code {code}) while reading at ({x}, {y})",
                remedy="give the job more memory if code is -9; else fetch the file again, or leave the slide out",
            )
            ticket.decoded.reply = Reply((), 0.0, error)
