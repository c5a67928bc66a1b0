"""Checkpoints of interrupted training: atomic, checked, and bound to the run they belong to."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pathomix.core.errors import PathomixError
from pathomix.core.files import atomic_path

_DIGEST_BYTES = hashlib.sha256().digest_size


class Checkpoint:
    """State of one training run on disk, written after every epoch and removed when the run is done.

    The file is a SHA-256 digest followed by torch's own format, so that damage anywhere in it is seen; only tensors
    and plain values are read back (``weights_only``).

    Args:
        path: File to write, for instance ``checkpoint.pt`` in the run's folder.
        identity: JSON-serialisable description of the run (configuration, inputs, code digest); a checkpoint with
            another identity is refused.
    """

    def __init__(self, path: str | os.PathLike[str], identity: Mapping[str, Any]) -> None:
        self._path = Path(path)
        self._identity = json.loads(json.dumps(identity))

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the checkpoint by this state: tensors, numbers, texts, and lists and dictionaries of them."""
        buffer = io.BytesIO()
        torch.save({"identity": json.dumps(self._identity), "state": dict(state)}, buffer)
        content = buffer.getbuffer()
        with atomic_path(self._path) as temporary, temporary.open("wb") as stream:
            stream.write(hashlib.sha256(content).digest())
            stream.write(content)

    def load(self) -> dict[str, Any] | None:
        """The state saved last, on the CPU; None where there is none.

        Raises:
            PathomixError: The file is damaged, or belongs to another run; the differing keys are named.
        """
        if not self._path.exists():
            return None
        identity, state = self._read()
        here, there = _flat(self._identity), _flat(identity)
        different = sorted(k for k in here.keys() | there.keys() if here.get(k, _ABSENT) != there.get(k, _ABSENT))
        if different:
            raise PathomixError(
                f"{self._path}: checkpoint of another run",
                offending=[f"{k} ({_shown(there, k)} there, {_shown(here, k)} now)" for k in different],
                remedy="put these back as they were to resume it, or delete the file to start anew",
            )
        return state

    def discard(self) -> None:
        """Remove the checkpoint; nothing happens where there is none."""
        self._path.unlink(missing_ok=True)

    def _read(self) -> tuple[Any, dict[str, Any]]:
        try:
            content = self._path.read_bytes()
            digest, payload = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
            if hashlib.sha256(payload).digest() != digest:
                raise ValueError("its content does not agree with its digest")
            saved = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
            return json.loads(saved["identity"]), saved["state"]
        except (OSError, RuntimeError, EOFError, KeyError, TypeError, ValueError, pickle.UnpicklingError) as error:
            raise PathomixError(
                f"{self._path}: damaged checkpoint ({error})", remedy="delete the file; the training starts anew"
            ) from error


_ABSENT = object()


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as one with dotted keys."""
    if not isinstance(value, dict):
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, item in value.items():
        flat |= _flat(item, f"{prefix}.{key}" if prefix else str(key))
    return flat


def _shown(values: Mapping[str, Any], key: str) -> str:
    text = json.dumps(values[key]) if key in values else "absent"
    return text if len(text) <= 60 else f"{text[:57]}..."
