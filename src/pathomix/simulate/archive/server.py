"""Runs a local archive in a thread of this process, on a port that is free."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from pathomix.simulate.archive.description import Archive, read_archive
from pathomix.simulate.archive.documents import BadQueryError
from pathomix.simulate.archive.faults import Counts, Faults
from pathomix.simulate.archive.gdc import GdcHandlers
from pathomix.simulate.archive.static import StaticHandlers

_HOST = "127.0.0.1"
_LONGEST_ADDRESS = 8000
_BODY = 1 << 24
_BUSY = "<html><head><title>503 Service Temporarily Unavailable</title></head><body>busy</body></html>"


@dataclass
class Seen:
    """A request that was made.

    Attributes:
        method: HTTP method.
        path: Path without query.
        range: `Range` header, empty where there was none.
        token: `X-Auth-Token` header, empty where there was none.
        host: `Host` header.
        status: Status of the answer, 0 while there is none.
    """

    method: str
    path: str
    range: str
    token: str
    host: str
    status: int = 0


@contextmanager
def serve(
    folder: Path, faults: Faults | None = None, tokens: Sequence[str] = (), journal: list[Seen] | None = None
) -> Iterator[str]:
    """Serve the archive described in a folder while the context lasts.

    Args:
        folder: Holds ``archive.json`` (see `description`).
        faults: What goes wrong.
        tokens: Tokens that open controlled files.
        journal: Every request is added to it.

    Yields:
        Base address of all three archives: GDC and CELLxGENE at its root, Xena below ``/download/``.
    """
    application = _application(read_archive(folder), faults or Faults(), tokens, [] if journal is None else journal)
    address: Future[str] = Future()
    stop = threading.Event()
    thread = threading.Thread(target=_run, args=(application, address, stop), name="archive", daemon=True)
    thread.start()
    try:
        yield address.result()
    finally:
        stop.set()
        thread.join()


def _run(application: web.Application, address: Future[str], stop: threading.Event) -> None:
    async def main() -> None:
        runner = web.AppRunner(application, access_log=None, max_line_size=1 << 20, shutdown_timeout=0.1)
        try:
            await runner.setup()
            site = web.TCPSite(runner, _HOST, 0)
            await site.start()
        except BaseException as error:
            address.set_exception(error)
            raise
        port = runner.addresses[0][1]
        address.set_result(f"http://{_HOST}:{port}")
        await asyncio.to_thread(stop.wait)
        await runner.cleanup()

    asyncio.run(main())


def _application(archive: Archive, faults: Faults, tokens: Sequence[str], journal: list[Seen]) -> web.Application:
    counts = Counts()
    # Some requests are refused before anything looks at them; every one is written down.
    application = web.Application(
        middlewares=[_journal(journal), _limits, _busy(faults, counts)], client_max_size=_BODY
    )
    application.add_routes(GdcHandlers(archive, faults, counts, tokens).routes())
    application.add_routes(StaticHandlers(archive, faults, counts).routes())
    return application


def _journal(journal: list[Seen]) -> Middleware:
    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        headers = request.headers
        token = headers.get("X-Auth-Token", "")
        seen = Seen(request.method, request.path, headers.get("Range", ""), token, request.host)
        journal.append(seen)
        try:
            response = await handler(request)
            seen.status = response.status
            return response
        except web.HTTPException as error:
            seen.status = error.status
            raise

    return middleware


@web.middleware
async def _limits(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Addresses that are too long, and queries that are malformed."""
    if len(request.path_qs) > _LONGEST_ADDRESS:
        return web.Response(status=414, text="<html><title>414 Request-URI Too Large</title></html>")
    try:
        return await handler(request)
    except BadQueryError as error:
        return web.json_response({"message": str(error)}, status=400)


def _busy(faults: Faults, counts: Counts) -> Middleware:
    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if faults.concern(request.path):
            date = formatdate(time.time() + 1, usegmt=True)
            after = date if faults.retry_after == "date" else faults.retry_after
            headers = {"Retry-After": after} if after else {}
            if counts.happens("unavailable", faults.unavailable, request.path):
                return web.Response(status=503, text=_BUSY, content_type="text/html", headers=headers)
            if counts.happens("too many", faults.too_many, request.path):
                return web.json_response({"message": "Too many requests"}, status=429, headers=headers)
        return await handler(request)

    return middleware
