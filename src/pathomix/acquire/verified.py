"""A small note beside a fetched file, so that it is hashed once and not in every run."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from pathomix.core.files import file_digest, write_json

log = logging.getLogger(__name__)


def note_path(target: Path) -> Path:
    """Hidden file beside `target`."""
    return target.with_name(f".{target.name}.verified.json")


def note(target: Path, algorithm: str, digest: str) -> None:
    """Record the digest a file was found to have, with the size and time that the file then had."""
    status = target.stat()
    try:
        write_json(note_path(target), {"size": status.st_size, "mtime_ns": status.st_mtime_ns, algorithm: digest})
    except OSError as error:
        # The file itself is right; it is only hashed once more the next time.
        log.warning("%s: cannot be noted as verified (%s)", target, error.strerror)


def noted_digest(target: Path, algorithm: str) -> str | None:
    """The recorded digest of a file that has not been touched since; None where nothing is known."""
    try:
        content = json.loads(note_path(target).read_text(encoding="utf-8"))
        status = target.stat()
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict):
        return None
    same = content.get("size") == status.st_size and content.get("mtime_ns") == status.st_mtime_ns
    digest = content.get(algorithm)
    return digest if same and isinstance(digest, str) else None


def known_digest(target: Path, algorithm: str) -> str:
    """Digest of an existing file: the recorded one, else one pass over the file, recorded."""
    digest = noted_digest(target, algorithm)
    if digest is None:
        digest = file_digest(target, algorithm)
        note(target, algorithm, digest)
    return digest
