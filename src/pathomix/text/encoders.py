"""The contract of text encoders, and the configured one."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pathomix.core.errors import PathomixError
from pathomix.core.registry import entry_of


class TextEncoder(Protocol):
    """Turns texts into vectors.

    Attributes:
        identity: Name and settings, without paths.
        digest: Digest of everything the vectors depend on (weights, vocabulary, settings).
        dim: Embedding width.
    """

    identity: str
    digest: str
    dim: int

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors [texts, dim]; equal texts have equal vectors.

        Raises:
            PathomixError: A text has nothing to encode.
        """
        ...


def build_encoder(name: str, settings: Mapping[str, Any]) -> TextEncoder:
    """The named encoder.

    Args:
        name: Key of `pathomix.text.registry.ENCODERS`.
        settings: Its constructor's arguments.

    Raises:
        PathomixError: Unknown encoder, an argument it does not read or that is missing, weights that do not fit.
    """
    encoder = entry_of("pathomix.text.registry:ENCODERS", name, what="text encoder", key="encoder")
    accepted = inspect.signature(encoder).parameters
    unread = sorted(set(settings) - set(accepted))
    if unread:
        raise PathomixError(
            f"text encoder {name} does not read all parameters given", offending=unread, remedy="remove them"
        )
    needed = [key for key, value in accepted.items() if value.default is value.empty and key not in settings]
    if needed:
        raise PathomixError(f"text encoder {name}: parameters are missing", offending=needed, remedy="add them")
    built: TextEncoder = encoder(**settings)
    return built


def unit_rows(vectors: NDArray[np.float32], texts: Sequence[str], identity: str) -> NDArray[np.float32]:
    """Rows divided by their length.

    Raises:
        PathomixError: A row is zero or not finite; its text is named.
    """
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    bad = ~np.isfinite(lengths[:, 0]) | (lengths[:, 0] == 0)
    if bad.any():
        raise PathomixError(
            f"text encoder {identity} gives no direction for some texts",
            offending=[repr(text) for text, wrong in zip(texts, bad, strict=True) if wrong],
            remedy="check its weights",
        )
    return np.asarray(vectors / lengths, dtype=np.float32)
