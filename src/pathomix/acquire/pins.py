"""Pins: size and sha256 of remote files whose archive publishes no checksum, kept from the first fetch on."""

from __future__ import annotations

import fcntl
import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from pathomix.acquire.download import Fetched, WrongContentError
from pathomix.core.errors import PathomixError
from pathomix.core.files import write_text

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pin:
    """What a remote file was when it was first fetched."""

    url: str
    size: int
    sha256: str

    def __str__(self) -> str:
        return f"{self.size} bytes, sha256 {self.sha256}"


def read_pins(path: Path) -> dict[str, Pin]:
    """All pins of a file; none where there is no such file.

    Raises:
        PathomixError: The file is malformed.
    """
    if not path.is_file():
        return {}
    remedy = "correct it, or restore it from the repository"
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise PathomixError(f"{path}: cannot be read as YAML ({error})", remedy=remedy) from error
    result: dict[str, Pin] = {}
    if content is not None and not isinstance(content, dict):
        raise PathomixError(f"{path}: not a mapping of names to pins", remedy=remedy)
    for name, entry in (content or {}).items():
        try:
            pin = Pin(**entry)
        except TypeError:
            pin = Pin("", 0, "")
        if not isinstance(pin.size, int) or not re.fullmatch(r"[0-9a-f]{64}", str(pin.sha256)) or not pin.url:
            raise PathomixError(f"{path}: the pin of {name} is not url, size and sha256", remedy=remedy)
        result[str(name)] = pin
    return result


def write_pin(path: Path, name: str, pin: Pin) -> None:
    """Add one pin; jobs that pin at the same time do not lose each other's."""
    with _locked(path):
        pins = {**read_pins(path), name: pin}
        content = {key: asdict(pins[key]) for key in sorted(pins)}
        write_text(path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=200))


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One writer at a time. A lock on the folder leaves no lock file behind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            log.warning("%s: no file locks here (%s)", path.parent, error.strerror)
        yield
    finally:
        os.close(descriptor)


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
