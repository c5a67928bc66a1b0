"""Fetching weights: what the user's token allows, verified or pinned, and used without a network after that."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import httpx

from pathomix.acquire.download import Fetched, fetch, side_by_side
from pathomix.acquire.http import Client, Patience, RemoteError
from pathomix.acquire.pinned import fetch_pinned
from pathomix.acquire.pins import Pin, read_pins, write_pin
from pathomix.acquire.progress import Progress
from pathomix.acquire.tokens import Token
from pathomix.acquire.verified import known_digest
from pathomix.acquire.weights import Registry, Weight, WeightFile
from pathomix.core.errors import PathomixError
from pathomix.core.files import file_digest

log = logging.getLogger(__name__)

_DIGITS = 64
_REFUSED = (401, 403)
_LOCAL = ("127.0.0.1", "localhost", "::1")


class HubClient(Client):
    """A client whose token goes to the hub as a bearer token, and nowhere else, also not after a redirect.

    Args:
        hub: Base address of the hub.
        token: The user's access token, None without one.
        patience: How long to try.

    Raises:
        PathomixError: The token would travel unencrypted.
    """

    def __init__(self, hub: str, token: Token | None = None, patience: Patience | None = None) -> None:
        super().__init__(patience=patience)
        self.bearer, self._hub = token, httpx.URL(hub)
        if token is not None and self._hub.scheme != "https" and self._hub.host not in _LOCAL:
            raise PathomixError(
                f"{hub}: the token in {token.source} would travel unencrypted", remedy="give an https address"
            )

    def _authorise(self, request: httpx.Request) -> None:
        super()._authorise(request)
        request.headers.pop("Authorization", None)
        same = (request.url.scheme, request.url.host, request.url.port) == (
            self._hub.scheme,
            self._hub.host,
            self._hub.port,
        )
        if self.bearer is not None and same:
            request.headers["Authorization"] = f"Bearer {self.bearer.secret}"


def fetch_weights(
    weights: Iterable[Weight], registry: Registry, folder: Path, pins: Path, client: HubClient, parallel: int = 2
) -> dict[str, Fetched]:
    """Fetch all files of some weights, or find them there; one that fails does not stop the others.

    A file of known sha256 has to have it; any other is pinned the first time and held to its pin after that. Files that
    only a person can fetch are checked where they are, and asked for where they are not.

    Args:
        weights: What to fetch.
        registry: Where it is.
        folder: The data folder; files go to ``weights/<name>/`` below it.
        pins: File of pins.
        client: Carries the user's token.
        parallel: How many side by side.

    Returns:
        Target (below `folder`) to what is there.

    Raises:
        FetchErrors: One sentence per file that could not be fetched, after all others were.
    """
    wanted = [(weight, file) for weight in weights for file in weight.files]
    with Progress(len(wanted), None) as progress:
        jobs: dict[str, Callable[[], Fetched]] = {
            weight.target(file): partial(_fetched, weight, file, registry, folder, pins, client, progress)
            for weight, file in wanted
        }
        return side_by_side(jobs, client, parallel)


def _fetched(
    weight: Weight,
    file: WeightFile,
    registry: Registry,
    folder: Path,
    pins: Path,
    client: HubClient,
    progress: Progress,
) -> Fetched:
    name, target = weight.target(file), folder / weight.target(file)
    if weight.reason_by_hand(file):
        found = _by_hand(weight, file, target, pins)
        progress.finish()
        return found
    url = registry.address(weight, file)
    complete = file.sha256 if file.sha256 and len(file.sha256) == _DIGITS else None

    def get(pinned: str | None) -> Fetched:
        check = partial(_check_beginning, target, file) if file.sha256 and not pinned else None
        return fetch(url, target, client=client, sha256=complete or pinned, check=check, progress=progress)

    try:
        return get(complete) if complete else fetch_pinned(name, url, target, pins, get)
    except RemoteError as error:
        if error.status not in _REFUSED:
            raise
        raise _refused(error, weight, target, client.bearer) from None


def _check_beginning(target: Path, file: WeightFile, path: Path) -> None:
    digest = file_digest(path)
    if file.sha256 and not digest.startswith(file.sha256):
        raise PathomixError(
            f"{target}: its sha256 begins with {digest[: len(file.sha256)]} instead of {file.sha256}",
            remedy="start again later; if it stays so, the remote file is another one",
        )


def _refused(error: RemoteError, weight: Weight, target: Path, token: Token | None) -> PathomixError:
    """One sentence about a file that the hub does not give to this user."""
    by_hand = f"or put the file by hand at {target}"
    if token is None:
        give = "put a token of your account into $HF_TOKEN and start again"
    else:
        give = f"check that the token in {token.source} is of the account that has access, and start again"
    if weight.gated:
        remedy = f"ask for access at {weight.page} ({weight.access}), {give}, {by_hand}"
    else:
        remedy = f"it should be open: look at {weight.page}, {give}, {by_hand}"
    return PathomixError(f"{weight.title} (licence: {weight.licence}): {error.fact}", remedy=remedy)


def _by_hand(weight: Weight, file: WeightFile, target: Path, pins: Path) -> Fetched:
    """A file that a person has put there, held to its digest like any other.

    Raises:
        PathomixError: It is not there, or not what it was.
    """
    name = weight.target(file)
    if not target.is_file():
        ask = f"ask for access at {weight.page} ({weight.access}), then " if weight.gated else ""
        raise PathomixError(
            f"{weight.title} (licence: {weight.licence}): {target} is not there, and a program cannot fetch it",
            remedy=f"{ask}put it there by hand ({weight.page}): {weight.reason_by_hand(file)}",
        )
    found = Fetched(target, target.stat().st_size, known_digest(target, "sha256"))
    pin = read_pins(pins).get(name)
    expected = file.sha256 or (pin.sha256 if pin else "")
    if not found.digest.startswith(expected):
        raise PathomixError(
            f"{target}: its sha256 is {found.digest}, expected {expected}",
            remedy=f"put the other file there, or, if this one is wanted, delete the entry {name} from {pins}",
        )
    if pin is None:
        write_pin(pins, name, Pin(weight.page, found.size, found.digest))
    return found
