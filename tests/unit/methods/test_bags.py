from __future__ import annotations

import numpy as np
import pytest

from pathomix.cohort.cases import Cases
from pathomix.core.bags import Bag
from pathomix.methods.bags import Bags, evenly_spaced, thinned


def test_large_bags_are_thinned_evenly(cohort: Cases) -> None:
    patient = max(cohort.ids, key=lambda p: len(cohort.tiles.bag(p).features))  # type: ignore[union-attr]
    whole = cohort.tiles.bag(patient).features  # type: ignore[union-attr]
    kept = Bags(cohort.subset([patient]), thinned(5)).features[0].numpy()
    places = [int(np.abs(whole - row).sum(axis=1).argmin()) for row in kept]
    assert len(places) == 5
    assert places[0] == 0
    assert places[-1] == len(whole) - 1
    assert max(np.diff(places)) - min(np.diff(places)) <= 1
    assert evenly_spaced(3, 5).tolist() == [0, 1, 2]


def test_coordinates_are_thinned_with_their_tiles() -> None:
    features = np.arange(40, dtype=np.float32).reshape(20, 2)
    bag = Bag(features, features.astype(np.int32), np.zeros(20, np.int32), ("S",), np.ones((1, 2), np.float32))
    kept, coords = thinned(6)(bag, "P")
    assert len(kept) == 6
    assert np.array_equal(kept, coords)


def test_statistics_weigh_patients_equally(cohort: Cases) -> None:
    bags = Bags(cohort.subset(cohort.ids[:3]), thinned(100))
    scaling = bags.scaling()
    tiles = [bag.double().numpy() for bag in bags.features]
    expected = np.mean([t.mean(axis=0) for t in tiles], axis=0)
    spread = np.mean([((t - expected) ** 2).mean(axis=0) for t in tiles], axis=0) ** 0.5
    assert scaling.mean.numpy() == pytest.approx(expected, abs=1e-5)
    assert scaling.sd.numpy() == pytest.approx(spread, abs=1e-5)
    assert scaling.scaled(bags.features[0]).numpy() == pytest.approx((tiles[0] - expected) / spread, abs=1e-3)
