"""Mini-batches of patients in which every stratum (event, class) is spread evenly."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

SMALLEST_BATCH = 8


def stratified_order(strata: NDArray[np.int64], generator: np.random.Generator) -> NDArray[np.int64]:
    """A random order of all rows in which each stratum is spread evenly, so that any stretch has its share of it."""
    position = np.empty(len(strata))
    for stratum in np.unique(strata):
        rows = generator.permutation(np.flatnonzero(strata == stratum))
        position[rows] = (np.arange(len(rows)) + generator.random(len(rows))) / len(rows)
    return np.argsort(position, kind="stable")


def batches(strata: NDArray[np.int64], batch_size: int, generator: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Row numbers of each batch of one epoch; a last, short batch under 8 is dropped unless it is the only one."""
    order = stratified_order(strata, generator)
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        if start == 0 or len(rows) >= min(SMALLEST_BATCH, batch_size):
            yield rows


def event_batches(
    event: NDArray[np.int64], batch_size: int, least: int, generator: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    """`batches` of which each has at least `least` events, or all there are where there are fewer.

    Where a batch lacks some, events drawn from the others take the places of censored rows, so that an event may be in
    several batches of an epoch but never twice in one.
    """
    happened = np.flatnonzero(event == 1)
    for rows in batches(event, batch_size, generator):
        own, censored = rows[event[rows] == 1], rows[event[rows] != 1]
        lacking = min(least, len(happened)) - len(own)
        if lacking > 0:
            more = generator.choice(np.setdiff1d(happened, own), lacking, replace=False)
            rows = np.concatenate([own, more, censored[lacking:]])
        yield rows


def stratified_folds(strata: NDArray[np.int64], folds: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Fold number of each row, every stratum spread evenly over the folds."""
    result = np.empty(len(strata), dtype=np.int64)
    offset = 0
    for stratum in np.unique(strata):
        rows = generator.permutation(np.flatnonzero(strata == stratum))
        result[rows] = (offset + np.arange(len(rows))) % folds
        offset += len(rows)
    return result
