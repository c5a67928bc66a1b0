"""Mixtures of cells: who with whom, with which weights, and their expression (spec path_gptomic 2.2)."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from pathomix.scgpt.binning import binned
from pathomix.scgpt.expression import Matrix
from pathomix.smoothing.parameters import MixingSettings

_BINS = 51


class Mixtures(NamedTuple):
    """Which cells, and how much of each.

    Attributes:
        numbers: int64 [n], number of each mixture in its part's stream; of an unmixed cell, its row in the atlas.
        cells: int64 [n, cells of a mixture], rows of the atlas.
        weights: float64, same shape, rows sum to 1.
    """

    numbers: NDArray[np.int64]
    cells: NDArray[np.int64]
    weights: NDArray[np.float64]

    def take(self, rows: NDArray[np.generic] | slice) -> Mixtures:
        """Some of them."""
        return Mixtures(self.numbers[rows], self.cells[rows], self.weights[rows])


def unmixed(rows: NDArray[np.int64]) -> Mixtures:
    """Single cells as mixtures of one."""
    return Mixtures(rows, rows[:, None], np.ones((len(rows), 1)))


def draw(
    numbers: NDArray[np.int64],
    rows: NDArray[np.int64],
    labels: NDArray[np.int64],
    settings: MixingSettings,
    part: str,
) -> Mixtures:
    """Draw mixtures; each depends on the seed, its part and its number alone, not on how many others are drawn.

    Args:
        numbers: Of the mixtures [n].
        rows: Cells to draw from, rows of the atlas.
        labels: Class of every row of the atlas.
        settings: How.
        part: ``train`` or ``valid``: their streams differ.
    """
    cells = np.empty((len(numbers), settings.n_mix), dtype=np.int64)
    weights = np.empty(cells.shape)
    digest = hashlib.sha256(f"mixtures/{settings.seed}/{part}".encode()).digest()
    key = np.frombuffer(digest[:16], dtype="<u8")
    by_class = [rows[labels[rows] == label] for label in np.unique(labels[rows])]
    for place, number in enumerate(numbers):
        # The number stands in a word of the counter that no draw reaches.
        generator = np.random.Generator(np.random.Philox(key=key, counter=np.array([0, 0, number, 0], np.uint64)))
        if settings.sampling == "uniform":
            cells[place] = rows[generator.integers(len(rows), size=settings.n_mix)]
        else:
            groups = [by_class[label] for label in generator.integers(len(by_class), size=settings.n_mix)]
            cells[place] = [group[generator.integers(len(group))] for group in groups]
        weights[place] = generator.standard_exponential(settings.n_mix)
    return Mixtures(np.asarray(numbers, np.int64), cells, weights / weights.sum(axis=1, keepdims=True))


def compositions(mixtures: Mixtures, labels: NDArray[np.int64], classes: int) -> NDArray[np.float32]:
    """Share of each class [n, classes]: one-hot rows of the cells, averaged with the mixture's weights.

    Args:
        mixtures: Of n mixtures.
        labels: Class of each of their cells, same shape as `mixtures.cells`.
        classes: Number of classes.
    """
    shares = np.zeros((len(mixtures.cells), classes))
    place = np.repeat(np.arange(len(shares)), mixtures.cells.shape[1])
    np.add.at(shares, (place, labels.ravel()), mixtures.weights.ravel())
    return shares.astype(np.float32)


def in_space(counts: Matrix, space: str) -> Matrix:
    """Counts of cells in the space in which they are averaged, CSR float64; zeros stay zeros.

    Args:
        counts: CSR [cells, genes].
        space: One of `parameters.SPACES`.
    """
    values = counts.astype(np.float64)
    if space == "counts":
        return values
    if space == "binned":
        for row in range(values.shape[0]):
            span = slice(values.indptr[row], values.indptr[row + 1])
            positive = values.data[span] > 0
            if positive.any():
                values.data[span][positive] = binned(values.data[span][positive], _BINS, "mid")
        return values
    depth = np.asarray(values.sum(axis=1)).ravel()
    factor = np.divide(1e4, depth, out=np.zeros(len(depth)), where=depth > 0)
    values.data *= np.repeat(factor, np.diff(values.indptr))
    if space == "log1p":
        values.data = np.log1p(values.data)
    return values


def mix(values: Matrix, mixtures: Mixtures, space: str) -> Matrix:
    """Expression of mixtures on a linear scale, CSR float64 [n, genes], without stored zeros.

    Args:
        values: Cells as `in_space` gives them.
        mixtures: Of these cells.
        space: As given to `in_space`.
    """
    count, size = mixtures.cells.shape
    weights = scipy.sparse.csr_matrix(
        (mixtures.weights.ravel(), mixtures.cells.ravel(), np.arange(0, count * size + 1, size)),
        shape=(count, values.shape[0]),
    )
    mixed = scipy.sparse.csr_matrix(weights @ values)
    if space == "log1p":
        mixed.data = np.expm1(mixed.data)
    # A weight of 0 must not add to the nonzero set, and nothing promises that the product stores no zeros.
    mixed.eliminate_zeros()
    mixed.sort_indices()
    return mixed
