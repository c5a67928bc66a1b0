"""Pins: size and sha256 of remote files whose archive publishes no checksum, kept from the first fetch on."""

from __future__ import annotations

import fcntl
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

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
