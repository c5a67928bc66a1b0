"""Sends file contents: ranges, checks in headers, and what can go wrong on the way."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import re
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path

from aiohttp import web

from pathomix.simulate.archive.faults import Counts, Faults

_CHUNK = 1 << 16


@dataclass(frozen=True)
class Source:
    """Bytes to send: a file, or (for a header that was changed) bytes in memory."""

    path: Path
    changed: bytes | None = None

    @property
    def size(self) -> int:
        """Number of bytes."""
        return self.path.stat().st_size if self.changed is None else len(self.changed)

    def read(self, start: int, count: int) -> bytes:
        """A slice."""
        if self.changed is not None:
            return self.changed[start : start + count]
        with self.path.open("rb") as stream:
            stream.seek(start)
            return stream.read(count)

    def headers(self) -> dict[str, str]:
        """What a store of static objects says of a file."""
        status = self.path.stat()
        name = f"{status.st_size}-{status.st_mtime_ns}-{len(self.changed or b'')}"
        tag = hashlib.sha256(name.encode()).hexdigest()[:32]
        return {"ETag": f'"{tag}"', "Last-Modified": formatdate(status.st_mtime, usegmt=True)}


def with_changed_header(source: Source) -> Source:
    """The same table with other column names."""
    packed = source.path.suffix == ".gz"
    data = source.path.read_bytes()
    text = gzip.decompress(data) if packed else data
    first, line, rest = text.partition(b"\n")
    cells = first.split(b"\t")
    renamed = b"\t".join([cells[0], *(b"new " + cell for cell in cells[1:])])
    changed = renamed + line + rest
    return Source(source.path, gzip.compress(changed, mtime=0) if packed else changed)


async def send(
    request: web.Request, source: Source, faults: Faults, counts: Counts, headers: dict[str, str]
) -> web.StreamResponse:
    """Answer with a file or a range of it."""
    size, address = source.size, f"{request.path} {source.path.name}"
    wrong = faults.concern(request.path, source.path.name)
    headers = {"Accept-Ranges": "bytes", "Content-Type": "application/octet-stream", **source.headers(), **headers}
    span = None if wrong and faults.ignore_range else _range(request, headers, size)
    if span is not None and span[0] >= size:
        return web.Response(status=416, headers={**headers, "Content-Range": f"bytes */{size}"})
    start, end = span or (0, size - 1)
    if span and not (wrong and faults.bare_range):
        headers["Content-Range"] = f"bytes {start}-{end}/{size}"
    response = web.StreamResponse(status=206 if span else 200, headers=headers)
    response.content_length = end - start + 1
    await response.prepare(request)
    if request.method == "HEAD":
        return response
    cut = wrong and faults.cut_after and counts.happens("cut", faults.cuts, address)
    spoilt = bool(wrong and not span and size and counts.happens("wrong", faults.wrong_bytes, address))
    await _stream(request, response, source, start, end, faults.cut_after if cut else None, spoilt, faults.delay_s)
    return response


async def _stream(
    request: web.Request, response: web.StreamResponse, source: Source, start: int, end: int, cut: int | None,
    spoilt: bool, delay_s: float,
) -> None:  # fmt: skip
    position, stop = start, end + 1 if cut is None else min(end + 1, start + cut)
    while position < stop:
        data = source.read(position, min(_CHUNK, stop - position))
        position += len(data)
        if spoilt and position == end + 1:
            data = data[:-1] + bytes([data[-1] ^ 0xFF])
        if delay_s:
            await asyncio.sleep(delay_s)
        await response.write(data)
    if stop <= end and request.transport is not None:
        # Closing (not aborting) lets what was written arrive first.
        request.transport.close()


def _range(request: web.Request, headers: dict[str, str], size: int) -> tuple[int, int] | None:
    """First and last byte asked for; None for the whole file."""
    condition = request.headers.get("If-Range")
    if condition is not None and condition not in (headers["ETag"], headers["Last-Modified"]):
        return None
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("Range", ""))
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        return max(0, size - int(match[2])), size - 1
    start = int(match[1])
    end = min(int(match[2]), size - 1) if match[2] else size - 1
    return None if start < size and end < start else (start, end)
