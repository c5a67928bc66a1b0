"""The queue of slides: reads of the next ones are decoded while this one is encoded, by all encoders of a pass."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pathomix.core.errors import PathomixError
from pathomix.slides.engine.decode import Buffer, Read
from pathomix.slides.engine.device import Features, Runner
from pathomix.slides.engine.partial import PartialFile
from pathomix.slides.engine.plan import Part, Tiling, plan_reads, slot_bytes
from pathomix.slides.engine.pool import Decoded, OwnProcess, Pool, Processes
from pathomix.slides.engine.speed import Speed, difference
from pathomix.slides.scale import Scale

log = logging.getLogger(__name__)


class Sink:
    """What one encoder makes of one slide.

    Batches start anew with each block, so that a job which resumes forms the same ones.

    Args:
        runner: The encoder.
        partial: Where features go.
        slide: Name of the slide's file, for messages.
        max_bad_share: Largest share of tiles that may be unreadable.

    Attributes:
        error: Why the slide cannot be embedded, None while it can.
    """

    def __init__(self, runner: Runner, partial: PartialFile, slide: str, max_bad_share: float) -> None:
        self.runner, self.partial = runner, partial
        self.error: PathomixError | None = None
        self._slide, self._max_bad_share = slide, max_bad_share
        self._next, self._fill, self._bad = partial.tiles, 0, partial.bad
        self._features: list[Features] = []
        self._good: list[NDArray[np.bool_]] = []
        self._check_bad()

    @property
    def finished(self) -> bool:
        """Whether nothing more will come."""
        return self.error is not None or self.partial.complete

    def add(self, first: int, pixels: Buffer, good: NDArray[np.bool_]) -> None:
        """Take tiles in the order of reading; those that an earlier job finished are passed over.

        Args:
            first: Position of the first tile.
            pixels: uint8 [n, size, size, 3].
            good: bool [n]: whether the tile could be read.
        """
        skip = max(0, self._next - first)
        pixels, good = pixels[skip:], good[skip:]
        while len(pixels) and self.error is None:
            take = min(self._room(), len(pixels))
            self.runner.stage[self._fill : self._fill + take] = pixels[:take]
            self._good.append(good[:take])
            self._bad += int((~good[:take]).sum())
            self._next += take
            self._fill += take
            if not self._room():
                count, self._fill = self._fill, 0
                self.runner.submit(count, self._receive)
            pixels, good = pixels[take:], good[take:]
            self._check_bad()

    def fail(self, error: PathomixError) -> None:
        """Give the slide up; nothing of it is kept."""
        if not self.finished:
            self.error = error
            self.partial.discard()

    def _room(self) -> int:
        """Tiles that still go into the batch: it ends with its block, and with the slide."""
        layout = self.partial.layout
        start = self._next - self._fill
        end = min(start + layout.batch, (start // layout.block + 1) * layout.block, layout.tiles)
        return end - self._next

    def _receive(self, features: Features) -> None:
        if self.error is not None:
            return
        self._features.append(features)
        count = self.partial.layout.count(self.partial.blocks)
        if sum(map(len, self._features)) < count:
            return
        block, good = np.concatenate(self._features), np.concatenate(self._good)
        self._features, self._good = [], [good[count:]]
        good = good[:count]
        block[~good] = 0
        if not np.isfinite(block).all():
            name = self.runner.encoder.name
            self.fail(
                PathomixError(
                    f"{self._slide}: features of {name} are not finite in float16",
                    remedy="check mean and std of the encoder and its weights, or set embedding.precision to fp32",
                )
            )
            return
        self.partial.append(block, good)

    def _check_bad(self) -> None:
        tiles = self.partial.layout.tiles
        if self._bad > self._max_bad_share * tiles:
            self.fail(
                PathomixError(
                    f"{self._slide}: {self._bad} or more of its {tiles} tiles cannot be read",
                    remedy="fetch the file again, or raise embedding.max_bad_share",
                )
            )


@dataclass
class SlideTask:
    """A slide with the encoders that still miss it.

    Attributes:
        slide_id: The slide.
        path: Its file.
        scale: Its physical scale.
        tilings: Its tilings.
        sinks: Per tiling what its encoders make of it.
        speed: Where the time went; filled when it is finished.
    """

    slide_id: str
    path: Path
    scale: Scale
    tilings: Sequence[Tiling]
    sinks: dict[str, list[Sink]]
    speed: Speed = field(default_factory=Speed)

    @property
    def all_sinks(self) -> list[Sink]:
        """Sinks of all tilings."""
        return [sink for sinks in self.sinks.values() for sink in sinks]

    @property
    def finished(self) -> bool:
        """Whether nothing more will come."""
        return all(sink.finished for sink in self.all_sinks)

    def wanted(self, part: Part) -> bool:
        """Whether some encoder still takes tiles of this tiling."""
        return any(not sink.finished for sink in self.sinks[part.tiling])


def start_pool(workers: int, regions: int, tile_sizes: Sequence[int]) -> Pool:
    """Decode processes for tilings with these tile edges; with 0 workers the job decodes itself."""
    capacity = slot_bytes(tile_sizes)
    return Processes(workers, regions, capacity) if workers else OwnProcess(capacity)


class Engine:
    """Embeds slide after slide.

    Args:
        pool: Decoder.
        runners: Encoders of the pass.
        tile_sizes: Tile edges of the pass, as given to `start_pool`.
    """

    def __init__(self, pool: Pool, runners: Sequence[Runner], tile_sizes: Sequence[int]) -> None:
        self._pool, self._runners = pool, runners
        self._capacity = slot_bytes(tile_sizes)

    def run(self, slides: Iterable[SlideTask]) -> Iterator[SlideTask]:
        """Embed slides, drawn ahead as reads are decoded ahead.

        Yields:
            Finished slides in their order; their sinks say what became of them.

        Raises:
            JobError: What is not the fault of a slide: a full disk, a device without memory, no decode processes.
        """
        ended: deque[SlideTask] = deque()
        stream = self._pool.stream(self._reads(slides))
        clock = last = time.perf_counter()
        before = self._counters()
        for decoded in stream:
            decoded.tag.speed.waited += time.perf_counter() - clock
            if decoded.read is None:
                ended.append(decoded.tag)
            else:
                self._take(decoded)
            while ended and ended[0].finished:
                last, before = self._measure(ended[0], last, before)
                yield ended.popleft()
            clock = time.perf_counter()
        for runner in self._runners:
            runner.drain()
        for slide in ended:
            last, before = self._measure(slide, last, before)
            yield slide

    def _reads(self, slides: Iterable[SlideTask]) -> Iterator[tuple[SlideTask, Read | None]]:
        for slide in slides:
            done = {name: min(sink.partial.tiles for sink in sinks) for name, sinks in slide.sinks.items()}
            for parts in plan_reads(slide.tilings, done, self._capacity):
                wanted = tuple(part for part in parts if slide.wanted(part))
                if wanted:
                    yield slide, Read(slide.path, slide.scale, wanted)
            yield slide, None

    def _take(self, decoded: Decoded[SlideTask]) -> None:
        slide, read, reply = decoded.tag, decoded.read, decoded.reply
        assert read is not None and reply is not None
        slide.speed.decode += reply.seconds
        for number, part in enumerate(read.parts):
            for sink in slide.sinks[part.tiling]:
                if reply.error is not None:
                    sink.fail(reply.error)
                else:
                    sink.add(part.first, decoded.pixels[number], reply.good[number])
            slide.speed.read += len(part.coords)

    def _counters(self) -> tuple[dict[str, float], dict[str, float], float]:
        busy = {runner.encoder.name: runner.busy for runner in self._runners}
        tiles = {runner.encoder.name: float(runner.tiles) for runner in self._runners}
        return busy, tiles, sum(runner.blocked for runner in self._runners)

    def _measure(
        self, slide: SlideTask, last: float, before: tuple[dict[str, float], dict[str, float], float]
    ) -> tuple[float, tuple[dict[str, float], dict[str, float], float]]:
        now, after = time.perf_counter(), self._counters()
        speed = slide.speed
        speed.workers, speed.wall = self._pool.workers, now - last
        speed.busy = difference(after[0], before[0])
        speed.encoded = {name: int(count) for name, count in difference(after[1], before[1]).items()}
        speed.blocked = after[2] - before[2]
        log.info("%s: %s", slide.slide_id, speed.line())
        return now, after
