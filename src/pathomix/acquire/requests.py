"""Lists of pinned files: what a configuration asks for, from whichever archive."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import httpx

from pathomix.acquire.atlas import atlas_url
from pathomix.acquire.download import Fetched, fetch, side_by_side
from pathomix.acquire.http import Client
from pathomix.acquire.pinned import fetch_pinned
from pathomix.acquire.progress import Progress
from pathomix.acquire.xena import HUBS, fetch_xena, table_check, xena_url
from pathomix.core.errors import PathomixError


@dataclass(frozen=True)
class Request:
    """One file that is asked for.

    Attributes:
        target: Relative path; also the name of its pin.
        url: Public address, which stands in the pin.
        dataset: Path of a Xena table, None for other files.
        hub: Host of the Xena table.
    """

    target: str
    url: str
    dataset: str | None = None
    hub: str = ""


def parse_request(target: str, source: str) -> Request:
    """Understand one entry of a list.

    Args:
        target: Relative path of the file to make.
        source: An ``https://`` address; ``cellxgene:VERSION_ID``; a Xena dataset, on the TCGA hub or, as
            ``HUB:DATASET``, on another one of `xena.HUBS`.

    Raises:
        PathomixError: The target leaves its folder, or the source is not understood.
    """
    path = PurePosixPath(target)
    if path.is_absolute() or ".." in path.parts or not path.name:
        raise PathomixError(f"{target!r} is not a path inside the folder", remedy="give a relative path without `..`")
    if source.startswith(("https://", "http://")):
        return Request(target, source)
    prefix, colon, rest = source.partition(":")
    if prefix == "cellxgene" and colon:
        return Request(target, atlas_url(rest))
    if colon and prefix not in HUBS:
        raise PathomixError(
            f"{target}: source {source!r} is not understood",
            remedy=f"give an https address, cellxgene:VERSION, or a Xena dataset (hubs: {', '.join(HUBS)})",
        )
    hub, dataset = (HUBS[prefix], rest) if colon else (HUBS["tcga"], source)
    return Request(target, xena_url(dataset, hub), dataset, hub)


def fetch_requests(
    requests: Mapping[str, str],
    folder: Path,
    pins: Path | None,
    client: Client,
    parallel: int = 4,
    mirror: str | None = None,
) -> dict[str, Fetched]:
    """Fetch all files of a list; one that fails does not stop the others.

    Args:
        requests: Relative target to source, see `parse_request`.
        folder: Where the targets go.
        pins: File of pins; new files are added to it. None: nothing is pinned, whatever comes is accepted.
        client: Shared HTTP client.
        parallel: How many side by side.
        mirror: Base address that stands in for every public host (a local archive).

    Raises:
        FetchErrors: Which failed, and why, after all others were fetched.
    """
    parsed = [parse_request(target, source) for target, source in sorted(requests.items())]
    with Progress(len(parsed), None) as progress:
        jobs = {r.target: _job(r, folder, pins, _getter(r, folder, client, mirror, progress), mirror) for r in parsed}
        return side_by_side(jobs, client, parallel)


def _job(
    request: Request, folder: Path, pins: Path | None, get: Callable[[str | None], Fetched], mirror: str | None
) -> Callable[[], Fetched]:
    if pins is None:
        return partial(get, None)
    return partial(fetch_pinned, request.target, _address(request, mirror), folder / request.target, pins, get)


def _address(request: Request, mirror: str | None) -> str:
    """What stands in the pin: files of a local archive must never pass for the public ones."""
    return request.url if mirror is None else f"local archive:{_path(request.url)}"


def _path(url: str) -> str:
    return httpx.URL(url).raw_path.decode("ascii")


def _getter(
    request: Request, folder: Path, client: Client, mirror: str | None, progress: Progress
) -> Callable[[str | None], Fetched]:
    target, dataset = folder / request.target, request.dataset

    def plain(sha256: str | None) -> Fetched:
        url = request.url if mirror is None else mirror.rstrip("/") + _path(request.url)
        return fetch(url, target, client=client, sha256=sha256, progress=progress)

    def table(sha256: str | None) -> Fetched:
        assert dataset is not None
        return fetch_xena(
            dataset, target, client=client, hub=mirror or request.hub, sha256=sha256, check=table_check(dataset),
            progress=progress,
        )  # fmt: skip

    return plain if dataset is None else table
