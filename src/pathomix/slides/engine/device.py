"""The device: what it computes with, how many tiles it takes at once, and batches that overlap with reading."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pathomix.core.errors import PathomixError
from pathomix.slides.engine.parameters import AUTO, EngineParameters, JobError

log = logging.getLogger(__name__)

Precision = Literal["fp32", "bf16", "fp16"]
Features = NDArray[np.float16]

_CPU_BATCH = 32
_FIRST_BATCH, _MAX_BATCH = 16, 512
# Batches under way on a GPU: one computes while the next one is copied there.
_DEPTH = 2


class Encoder(Protocol):
    """What the engine needs of `pathomix.slides.encoders.encoder.TileEncoder`."""

    name: str
    dim: int
    tile_size: int

    def to(self, device: torch.device | str, precision: Precision, compile: bool = False) -> object:
        """Move the network, in place."""
        ...

    def encode(self, tiles: Tensor) -> Tensor:
        """uint8 [n, s, s, 3] to float32 [n, dim]."""
        ...


@dataclass(frozen=True)
class Numerics:
    """What features are computed with; part of their content key.

    Attributes:
        device: ``cpu`` or ``cuda``.
        precision: Type of the activations.
        compile: Whether the network is compiled.
    """

    device: str
    precision: Precision
    compile: bool

    @classmethod
    def of(cls, parameters: EngineParameters) -> Numerics:
        """Settle what was left open.

        Raises:
            PathomixError: There is no GPU, or the processor lacks the type.
        """
        device = parameters.device
        if device == AUTO:
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if device == "cuda" and not torch.cuda.is_available():
            raise PathomixError(
                "embedding.device is cuda, and torch sees no GPU",
                remedy="run where one is, with a torch built for it, or set embedding.device to auto",
            )
        precision = parameters.precision
        if precision == AUTO:
            precision = "bf16" if device == "cuda" else "fp32"
        return cls(device, cast(Precision, precision), parameters.compile)


def prepare(encoder: Encoder, numerics: Numerics, batch_size: int | str) -> Runner:
    """Move an encoder to the device and settle its batch.

    Raises:
        JobError: Not even the smallest batch fits.
    """
    if numerics.device == "cuda" and numerics.precision == "fp32":  # torch would round convolutions to TF32
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False
    encoder.to(numerics.device, numerics.precision, numerics.compile)
    if batch_size != AUTO:
        batch = int(batch_size)
    elif numerics.device == "cpu":
        batch = _CPU_BATCH
    else:
        batch = largest_batch(encoder, numerics.device)
    log.info("%s on %s, %s, %d tiles at once", encoder.name, numerics.device, numerics.precision, batch)
    return Runner(encoder, numerics.device, batch, fixed=numerics.compile)


def largest_batch(encoder: Encoder, device: str) -> int:
    """The largest power of two up to 512 that fits, by doubling until the memory is out.

    Raises:
        JobError: Not even 16 tiles fit.
    """
    batch, fits = _FIRST_BATCH, 0
    while batch <= _MAX_BATCH:
        try:
            size = encoder.tile_size
            encoder.encode(torch.zeros((batch, size, size, 3), dtype=torch.uint8, device=device))
            if device == "cuda":
                torch.cuda.synchronize()
        except torch.OutOfMemoryError:
            break
        batch, fits = 2 * batch, batch
    if device == "cuda":
        torch.cuda.empty_cache()
    if not fits:
        raise JobError(
            f"encoder {encoder.name}: {_FIRST_BATCH} tiles do not fit the memory of the GPU",
            remedy="set embedding.batch_size to a smaller number, or use a GPU that nobody else uses",
        )
    return fits


@dataclass
class _Pending:
    features: Tensor
    receive: Callable[[Features], None]
    start: torch.cuda.Event | None
    end: torch.cuda.Event | None


class Runner:
    """Batches of one encoder: filled by the job, computed while it goes on reading, answered in their order.

    Args:
        encoder: On its device already.
        device: ``cpu`` or ``cuda``.
        batch: Tiles per batch.
        fixed: Fill the last batch up with blank tiles: a compiled network is compiled again for each new size.

    Attributes:
        busy: Seconds the device has computed.
        blocked: Seconds the job has waited for it.
        tiles: Tiles encoded.
    """

    def __init__(self, encoder: Encoder, device: str, batch: int, fixed: bool = False) -> None:
        self.encoder = encoder
        self.batch = batch
        self.busy, self.blocked, self.tiles = 0.0, 0.0, 0
        self._device, self._fixed = device, fixed
        self._cuda = device == "cuda"
        shape = batch, encoder.tile_size, encoder.tile_size, 3
        buffers = _DEPTH + 1 if self._cuda else 1
        self._buffers = deque(torch.zeros(shape, dtype=torch.uint8, pin_memory=self._cuda) for _ in range(buffers))
        self._pending: deque[_Pending] = deque()

    @property
    def stage(self) -> NDArray[np.uint8]:
        """Buffer of the next batch, uint8 [batch, size, size, 3]."""
        return np.asarray(self._buffers[0].numpy())

    def submit(self, count: int, receive: Callable[[Features], None]) -> None:
        """Encode the first `count` tiles of `stage`.

        Args:
            count: Number of tiles.
            receive: Called with their features, float16 [count, dim]; at once on a CPU, some batches later on a GPU.

        Raises:
            JobError: The device's memory is out.
        """
        start = time.perf_counter()
        tiles = self._buffers[0]
        if self._fixed:
            tiles[count:] = 0
        else:
            tiles = tiles[:count]
        try:
            pending = self._encode(tiles, count, receive)
        except torch.OutOfMemoryError as error:
            raise JobError(
                f"encoder {self.encoder.name}: a batch of {self.batch} tiles does not fit the memory of the GPU",
                remedy="set embedding.batch_size to a smaller number",
            ) from error
        self.tiles += count
        if not self._cuda:
            self.busy += time.perf_counter() - start
        self._pending.append(pending)
        self._buffers.rotate(-1)
        self._answer(_DEPTH if self._cuda else 0, start)

    def drain(self) -> None:
        """Wait for all batches under way."""
        self._answer(0, time.perf_counter())

    def _encode(self, tiles: Tensor, count: int, receive: Callable[[Features], None]) -> _Pending:
        if not self._cuda:
            # an overflow becomes infinity, which the slide's sink refuses
            return _Pending(self.encoder.encode(tiles)[:count].half(), receive, None, None)
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        on_device = tiles.to(self._device, non_blocking=True)
        start.record()
        features = self.encoder.encode(on_device)[:count].half()
        host = torch.empty(features.shape, dtype=torch.float16, pin_memory=True)
        host.copy_(features, non_blocking=True)
        end.record()
        return _Pending(host, receive, start, end)

    def _answer(self, depth: int, since: float) -> None:
        while len(self._pending) > depth:
            pending = self._pending.popleft()
            if pending.start is not None and pending.end is not None:
                pending.end.synchronize()
                self.busy += pending.start.elapsed_time(pending.end) / 1000
            self.blocked += time.perf_counter() - since
            pending.receive(pending.features.numpy())
            since = time.perf_counter()
