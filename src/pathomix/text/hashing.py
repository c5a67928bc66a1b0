"""The offline text encoder: hashed words, word pairs and letter groups, so that texts with shared words are close."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pathomix.core.errors import PathomixError

_WORD = re.compile(r"[a-z0-9]+")
_COMPONENTS = 8
_WEIGHTS = {"word": 4, "pair": 3, "letters": 1}


class HashingEncoder:
    """Signed feature hashing of the distinct words, pairs of neighbouring words and groups of four letters of a text.

    Every feature adds its integer weight, with hashed signs, to eight hashed components. Sums are exact integers, and
    root and division are rounded as IEEE 754 says: the same bytes on every machine.

    Args:
        width: Embedding width.
        seed: Another seed gives another, equivalent space.
    """

    def __init__(self, width: int = 512, seed: int = 0) -> None:
        if width < 2 * _COMPONENTS:
            raise PathomixError(f"hashing text encoder: width {width}", remedy=f"set `width` to {2 * _COMPONENTS} up")
        self.dim = width
        self.seed = seed
        self.identity = f"hashing width={width} seed={seed}"
        self.digest = hashlib.sha256(f"{self.identity} {_WEIGHTS} {_COMPONENTS}".encode()).hexdigest()
        self._known: dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]] = {}

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors [texts, dim].

        Raises:
            PathomixError: A text has no letter and no digit.
        """
        return np.stack([self._encode(text) for text in texts]) if texts else np.zeros((0, self.dim), np.float32)

    def _encode(self, text: str) -> NDArray[np.float32]:
        sums = np.zeros(self.dim, dtype=np.int64)
        for feature, weight in _features(text).items():
            places, signs = self._places(feature)
            np.add.at(sums, places, weight * signs)
        squared = int((sums * sums).sum())
        if squared == 0:
            raise PathomixError("a text without words", offending=[repr(text)], remedy="check the prompts' wording")
        return (sums / math.sqrt(squared)).astype(np.float32)

    def _places(self, feature: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Components a feature adds to, and the signs."""
        if feature not in self._known:
            digest = hashlib.sha512(f"{self.seed}/{feature}".encode()).digest()
            numbers = np.frombuffer(digest, dtype="<u8")[:_COMPONENTS]
            signs = 1 - 2 * (numbers & np.uint64(1)).astype(np.int64)
            self._known[feature] = ((numbers >> np.uint64(1)) % np.uint64(self.dim)).astype(np.int64), signs
        return self._known[feature]


def _features(text: str) -> dict[str, int]:
    """Distinct features and their weights; distinct, so that words all texts repeat do not outweigh the rest."""
    words = _WORD.findall(text.casefold())
    kinds = {
        "word": words,
        "pair": [f"{first} {second}" for first, second in pairwise(words)],
        "letters": [f"<{word}>"[i : i + 4] for word in words for i in range(len(word) - 1)],
    }
    return {f"{kind}:{item}": _WEIGHTS[kind] for kind, items in kinds.items() for item in items}
