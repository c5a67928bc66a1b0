"""Clusters of tile features: k-means over the training patients, the phenotypes of DeepAttnMISL."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pathomix.core.errors import PathomixError
from pathomix.core.fitting import note_fitted
from pathomix.core.seeds import derived_seed
from pathomix.methods.bags import Bags, TileScaling, evenly_spaced

_ITERATIONS = 100
_TILES_PER_PATIENT = 64
Rows = NDArray[np.float32]


def tile_clusters(bags: Bags, scaling: TileScaling, clusters: int, seed: int) -> Tensor:
    """Centres [clusters, dim] of the scaled tiles of these patients, every patient with at most 64 of them.

    Args:
        bags: Of the training patients.
        scaling: Of the tile features.
        clusters: How many.
        seed: Of the first centres.

    Raises:
        PathomixError: There are fewer distinct tiles than clusters.
    """
    note_fitted("vocabulary", bags.ids)
    sampled = (bag[torch.from_numpy(evenly_spaced(len(bag), _TILES_PER_PATIENT))] for bag in bags.features)
    rows = torch.cat([scaling.scaled(bag) for bag in sampled]).numpy()
    return torch.from_numpy(kmeans(rows, clusters, derived_seed(seed, "tile_clusters")))


def nearest(tiles: Tensor, centres: Tensor) -> Tensor:
    """Number of the nearest centre [t] of tiles [t, dim]; the lower one of two as near."""
    return (centres.square().sum(dim=1) - 2 * tiles @ centres.T).argmin(dim=1)


def kmeans(rows: Rows, clusters: int, seed: int) -> Rows:
    """Centres [clusters, dim] by Lloyd's algorithm from k-means++ starts; equal input and seed give equal centres.

    scikit-learn's adds up the parts of its threads in the order in which they end, which moves the last digits.

    Args:
        rows: [n, dim].
        clusters: How many.
        seed: Of the first centres.

    Raises:
        PathomixError: There are fewer distinct rows than clusters.
    """
    centres = _first_centres(rows, clusters, np.random.default_rng(seed))
    label = np.full(len(rows), -1)
    for _ in range(_ITERATIONS):
        distances = _distances(rows, centres)
        found = distances.argmin(axis=1)
        if np.array_equal(found, label):
            break
        label = found
        # A centre that has lost all its rows starts again at the row that is worst off.
        empty = np.setdiff1d(np.arange(clusters), label)
        label[np.argsort(-distances.min(axis=1), kind="stable")[: len(empty)]] = empty
        order = np.argsort(label, kind="stable")
        starts = np.searchsorted(label[order], np.arange(clusters))
        counts = np.bincount(label, minlength=clusters)[:, None]
        centres = (np.add.reduceat(rows[order].astype(np.float64), starts, axis=0) / counts).astype(np.float32)
    return centres


def _first_centres(rows: Rows, clusters: int, generator: np.random.Generator) -> Rows:
    """Rows drawn with a probability that grows with the squared distance to those drawn before."""
    chosen = [int(generator.integers(len(rows)))]
    apart = _distances(rows, rows[chosen])[:, 0]
    while len(chosen) < clusters:
        apart[chosen] = 0.0
        if not apart.any():
            raise PathomixError(
                f"{len(chosen)} distinct tiles for {clusters} clusters", remedy="set `clusters` lower for this cohort"
            )
        chosen.append(int(generator.choice(len(rows), p=apart / apart.sum())))
        apart = np.minimum(apart, _distances(rows, rows[chosen[-1:]])[:, 0])
    return rows[chosen]


def _distances(rows: Rows, centres: Rows) -> NDArray[np.float64]:
    """Squared distances [n, clusters]."""
    squares = (rows**2).sum(axis=1)[:, None] + (centres**2).sum(axis=1) - 2 * rows @ centres.T
    return np.maximum(squares, 0.0).astype(np.float64)
