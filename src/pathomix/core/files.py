"""Atomic writes and content hashes: a reader never sees half a file."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_CHUNK = 1 << 20
_WRITING = ".writing"
_ABANDONED = re.compile(rf"\..+\.[a-z0-9_]{{8}}{re.escape(_WRITING)}(\.[^.]*)?")


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success flush it to disk and rename it, on error remove it.

    The temporary name keeps the suffix of `path`, because several writers choose their format by it.
    """
    final = Path(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=final.parent, prefix=f".{final.stem}.", suffix=_WRITING + final.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        temporary.replace(final)
    finally:
        temporary.unlink(missing_ok=True)


def sweep(folder: str | os.PathLike[str]) -> list[Path]:
    """Remove the temporary files that killed writers left below a folder, which need not exist.

    For a moment when nobody else writes there: a writer whose file is taken away fails.

    Returns:
        What was removed.
    """
    left = [Path(parent, name) for parent, _, names in os.walk(folder) for name in names if _ABANDONED.fullmatch(name)]
    for path in left:
        # One that cannot be removed stops nothing: whoever has to write beside it will say why it cannot.
        with suppress(OSError):
            path.unlink()
    return sorted(path for path in left if not path.exists())


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Write JSON atomically, keys sorted, so that equal content gives equal bytes."""
    write_text(path, json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n")


def file_digest(path: str | os.PathLike[str], algorithm: str = "sha256") -> str:
    """Hexadecimal digest of a file's content."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with open(path, "rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def content_key(**parts: Any) -> str:
    """Digest (32 hexadecimal characters) of named, JSON-serialisable parts, independent of their order."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def shard_of(identifier: str, shards: int) -> int:
    """Stable shard number of an id: adding an id never moves another one."""
    return int(hashlib.sha256(identifier.encode()).hexdigest()[:8], 16) % shards
