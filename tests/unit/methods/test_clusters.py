"""k-means: planted clusters, Lloyd's conditions, equal bytes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans

from pathomix.cohort.cases import Cases
from pathomix.core.errors import PathomixError
from pathomix.core.fitting import recording
from pathomix.methods.bags import Bags, thinned
from pathomix.methods.build import build_method
from pathomix.methods.clusters import kmeans, nearest, tile_clusters

Parts = Callable[..., tuple[Cases, Cases, Cases]]


@pytest.fixture
def rows() -> np.ndarray:
    generator = np.random.default_rng(0)
    return generator.normal(size=(300, 5)).astype(np.float32)


def test_finds_planted_clusters(rows: np.ndarray) -> None:
    truth = 20 * np.eye(5, dtype=np.float32)
    planted = rows + truth[np.arange(300) % 5]
    for seed in range(5):
        centres = kmeans(planted, 5, seed)
        assert np.abs(centres[np.argmax(centres, axis=0)] - truth).max() < 1.0


def test_ends_where_lloyd_ends_and_as_well_as_the_library(rows: np.ndarray) -> None:
    centres = kmeans(rows, 6, 3)
    label = ((rows[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
    means = np.stack([rows[label == number].mean(axis=0) for number in range(6)])
    assert centres == pytest.approx(means, abs=1e-4)
    library = KMeans(6, n_init=1, random_state=0).fit(rows)
    ours = min(((rows[:, None] - kmeans(rows, 6, seed)) ** 2).sum(axis=2).min(axis=1).sum() for seed in range(5))
    assert ours < 1.05 * library.inertia_


def test_same_seed_same_bytes_other_seed_other_start(rows: np.ndarray) -> None:
    assert kmeans(rows, 4, 7).tobytes() == kmeans(rows, 4, 7).tobytes()
    assert kmeans(rows, 4, 7).tobytes() != kmeans(rows, 4, 8).tobytes()


def test_as_many_clusters_as_distinct_rows_and_no_more() -> None:
    rows = np.repeat(np.array([[0.0], [1.0], [5.0]], np.float32), 4, axis=0)
    assert sorted(kmeans(rows, 3, 0)[:, 0].tolist()) == [0.0, 1.0, 5.0]
    with pytest.raises(PathomixError, match="3 distinct tiles for 4 clusters"):
        kmeans(rows, 4, 0)


def test_nearest_is_the_nearest(rows: np.ndarray) -> None:
    centres = rows[:7]
    expected = ((rows[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
    assert nearest(torch.from_numpy(rows), torch.from_numpy(centres)).tolist() == expected.tolist()


def test_clusters_are_noted_and_of_the_training_part_alone(
    cohort: Cases, parts_of: Parts, configurations: dict
) -> None:
    train, valid, test = parts_of(cohort)
    bags = Bags(train, thinned(100))
    with recording() as record:
        centres = tile_clusters(bags, bags.scaling(), 4, 0)
    assert record.ids("vocabulary") == frozenset(train.ids)
    assert centres.shape == (4, 12)
    method = build_method({**configurations["deep_attn_misl"], "epochs": 1, "selection": "valid"})
    with recording() as record:
        states = [method.fit(train, held, tasks=("survival",), seed=0).state() for held in (valid, test)]
    assert record.ids("vocabulary") == frozenset(train.ids)
    assert np.array_equal(*(state["survival.tile_clusters"] for state in states))
    with pytest.raises(PathomixError, match="clusters is 0"):
        build_method({"method": "deep_attn_misl", "clusters": 0})
