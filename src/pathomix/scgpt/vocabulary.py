"""Gene symbols and special tokens to rows of the token table (spec scgpt 1.2)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathomix.core.errors import PathomixError

PAD, CLS, EOC = "<pad>", "<cls>", "<eoc>"
SPECIAL = (PAD, CLS, EOC)
"""In the order in which absent ones are appended."""

_REMEDY = "give the vocab.json that belongs to the weights"


class Vocabulary:
    """Tokens with contiguous ids from 0; special tokens never answer for a gene.

    Args:
        tokens: All tokens by id, without duplicates; special tokens that are absent are appended.
        source: For messages.

    Raises:
        PathomixError: A token is empty or appears twice.
    """

    def __init__(self, tokens: Iterable[str], source: str = "vocabulary") -> None:
        self.tokens = list(tokens)
        self.appended = tuple(token for token in SPECIAL if token not in set(self.tokens))
        self.tokens += self.appended
        self._ids = {token: place for place, token in enumerate(self.tokens)}
        if len(self._ids) < len(self.tokens) or "" in self._ids:
            twice = sorted({token for place, token in enumerate(self.tokens) if self._ids[token] != place})
            raise PathomixError(
                f"{source}: tokens are empty or appear more than once", offending=twice or ["''"], remedy=_REMEDY
            )
        self.source = source

    @classmethod
    def read(cls, path: Path) -> Vocabulary:
        """Read ``vocab.json``: token to id, ids contiguous from 0 in any order.

        Raises:
            PathomixError: The file is missing, is no such object, names a token twice or leaves ids out.
        """
        try:
            pairs = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=list)
        except (OSError, ValueError) as error:
            raise PathomixError(f"{path}: cannot be read as JSON ({error})", remedy=_REMEDY) from error
        if not isinstance(pairs, list) or not all(isinstance(pair, tuple) for pair in pairs) or not pairs:
            raise PathomixError(f"{path}: is no object of tokens and ids", remedy=_REMEDY)
        wrong = [token for token, place in pairs if type(place) is not int or not 0 <= place < len(pairs)]
        by_id: dict[int, str] = {place: token for token, place in pairs if type(place) is int}
        if wrong or len(by_id) < len(pairs):
            shared = [token for token, place in pairs if type(place) is int and by_id[place] != token]
            raise PathomixError(
                f"{path}: ids are not the whole numbers from 0 to {len(pairs) - 1}, each once",
                offending=wrong or shared,
                remedy=_REMEDY,
            )
        return cls((by_id[place] for place in range(len(pairs))), str(path))

    def __len__(self) -> int:
        return len(self.tokens)

    def __contains__(self, gene: object) -> bool:
        return gene in self._ids and gene not in SPECIAL

    def __getitem__(self, token: str) -> int:
        """Id of a token, special ones included.

        Raises:
            PathomixError: It is not in the vocabulary.
        """
        if token not in self._ids:
            raise PathomixError(f"{self.source}: token {token!r} is not in the vocabulary", remedy=_REMEDY)
        return self._ids[token]

    def gene_ids(self, genes: Iterable[str]) -> NDArray[np.int64]:
        """Ids [genes], -1 where a name is no gene of the vocabulary; case counts."""
        return np.array([self._ids[gene] if gene in self else -1 for gene in genes], dtype=np.int64)

    @property
    def genes(self) -> list[str]:
        """All tokens that are not special, by id."""
        return [token for token in self.tokens if token not in SPECIAL]

    @property
    def digest(self) -> str:
        """SHA-256 over the tokens in order."""
        return hashlib.sha256("\n".join(self.tokens).encode()).hexdigest()

    def to_json(self) -> Mapping[str, Any]:
        """Content of ``vocab.json``."""
        return dict(self._ids)
