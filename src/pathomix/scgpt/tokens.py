"""One profile to tokens, and several to one padded batch (spec scgpt 4.1, 5, 6)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pathomix.scgpt.binning import binned
from pathomix.scgpt.parameters import EmbeddingSettings

_STEP = np.uint64(0x9E3779B97F4A7C15)
_MIX = ((30, np.uint64(0xBF58476D1CE4E5B9)), (27, np.uint64(0x94D049BB133111EB)))


class Tokens(NamedTuple):
    """Input of one profile, ``<cls>`` first.

    Attributes:
        genes: int64 [n], token ids.
        values: float32 [n], bins; the value of ``<cls>`` is no bin.
    """

    genes: NDArray[np.int64]
    values: NDArray[np.float32]


class Draws(Protocol):
    """The random numbers of one view of one profile."""

    def ties(self, genes: NDArray[np.int64]) -> NDArray[np.float64]:
        """A number in [0, 1) per gene."""
        ...

    def subset(self, genes: NDArray[np.int64], size: int) -> NDArray[np.int64]:
        """Positions [size] of a random subset of the genes, without repetition."""
        ...


class KeyedDraws:
    """Random numbers that depend on seed, profile id, view and gene alone.

    Neither the other profiles, nor their order, nor the order of genes, nor a worker changes them; a gene more or less
    leaves the others' numbers as they are.

    Args:
        seed: Of the embedding.
        profile: Id of the cell or sample.
        view: Number of the draw.
    """

    def __init__(self, seed: int, profile: str, view: int) -> None:
        self._name = f"{seed}\0{view}\0{profile}"

    def ties(self, genes: NDArray[np.int64]) -> NDArray[np.float64]:
        """A number in [0, 1) per gene."""
        return self._uniform("ties", genes)

    def subset(self, genes: NDArray[np.int64], size: int) -> NDArray[np.int64]:
        """Positions of the `size` genes with the smallest numbers."""
        return np.argsort(self._uniform("subset", genes), kind="stable")[:size]

    def _uniform(self, use: str, genes: NDArray[np.int64]) -> NDArray[np.float64]:
        """SplitMix64 at position `gene` of the stream the key opens (Steele et al. 2014): any position, any order."""
        key = np.uint64(int.from_bytes(hashlib.sha256(f"{use}\0{self._name}".encode()).digest()[:8], "big"))
        with np.errstate(over="ignore"):
            state = key + (genes.astype(np.uint64) + np.uint64(1)) * _STEP
            for shift, factor in _MIX:
                state = (state ^ (state >> np.uint64(shift))) * factor
        return ((state ^ (state >> np.uint64(31))) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def profile_length(expressed: int, settings: EmbeddingSettings) -> int:
    """Tokens of a profile with so many genes to read, ``<cls>`` included."""
    return expressed + 1 if settings.length == "full" else min(expressed + 1, settings.max_length)


def tokenise(
    genes: NDArray[np.int64],
    expression: NDArray[np.floating],
    settings: EmbeddingSettings,
    *,
    cls: tuple[int, float],
    draws: Draws,
    panel: NDArray[np.bool_] | None = None,
) -> Tokens:
    """Tokens of one profile: bins first, then the reduction to the length.

    Args:
        genes: Token ids of the expressed genes [n], each once, n at least 1.
        expression: Their expression [n], positive.
        settings: How.
        cls: Id and value of ``<cls>``.
        draws: Random numbers.
        panel: Which token ids may be read, by id; None: all.
    """
    if panel is not None and settings.bin_scope == "selected":
        genes, expression = genes[panel[genes]], expression[panel[genes]]
    uniform = draws.ties(genes) if settings.ties == "random" else None
    bins = binned(expression, settings.n_bins, settings.ties, uniform)
    if panel is not None and settings.bin_scope == "all_matched":
        inside = panel[genes]
        genes, expression, bins = genes[inside], expression[inside], bins[inside]
    room = profile_length(len(genes), settings) - 1
    if room < len(genes):
        sampled = settings.length == "sample"
        kept = draws.subset(genes, room) if sampled else np.lexsort((genes, -expression))[:room]
        genes, bins = genes[kept], bins[kept]
    return Tokens(
        np.concatenate([[cls[0]], genes]).astype(np.int64), np.concatenate([[cls[1]], bins]).astype(np.float32)
    )


def collate(profiles: Sequence[Tokens], pad_id: int, pad_value: float) -> tuple[Tensor, Tensor, Tensor | None]:
    """Genes int64 and values float32 [B, L] of profiles padded to the longest, and where padding is (None: nowhere)."""
    lengths = np.array([len(profile.genes) for profile in profiles])
    genes = np.full((len(profiles), lengths.max()), pad_id, dtype=np.int64)
    values = np.full(genes.shape, pad_value, dtype=np.float32)
    for row, profile in enumerate(profiles):
        genes[row, : lengths[row]] = profile.genes
        values[row, : lengths[row]] = profile.values
    padding = None
    if lengths.min() < lengths.max():
        padding = torch.from_numpy(np.arange(lengths.max()) >= lengths[:, None])
    return torch.from_numpy(genes), torch.from_numpy(values), padding
