"""Fetching a remote file that has to stay what it was when it was first fetched."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from pathomix.acquire.download import Fetched, WrongContentError
from pathomix.acquire.pins import Pin, read_pins, write_pin
from pathomix.core.errors import PathomixError

log = logging.getLogger(__name__)


def fetch_pinned(name: str, url: str, target: Path, pins: Path, get: Callable[[str | None], Fetched]) -> Fetched:
    """Fetch a file that has to be what it was the first time; the first time, pin it.

    Args:
        name: Key of the pin.
        url: Public address, which stands in the pin.
        target: Where `get` puts the file.
        pins: File of pins.
        get: Fetches the file of the given sha256, or any where that is None. It does not ask for a size: a changed
            file is fetched whole, so that the message can name both pins.

    Raises:
        PathomixError: The remote file is another one than was pinned, or the pin is of another address, or as `get`
            raises.
    """
    pin = read_pins(pins).get(name)
    remove = f"if the new one is wanted, delete the entry {name} from {pins} and start again"
    if pin is None:
        found = get(None)
        write_pin(pins, name, Pin(url, found.size, found.digest))
        log.info("%s: pinned, %d bytes, sha256 %s", name, found.size, found.digest)
        return found
    if pin.url != url:
        raise PathomixError(f"{name}: pinned from {pin.url}, now asked for from {url}", remedy=remove)
    try:
        return get(pin.sha256)
    except WrongContentError as error:
        raise PathomixError(
            f"{name}: the remote file has changed: pinned {pin}; now {Pin(url, error.size, error.digest)}",
            remedy=f"{remove}; if not, put a copy of the pinned file at {target}",
        ) from None
