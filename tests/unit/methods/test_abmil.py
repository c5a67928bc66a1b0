from __future__ import annotations

import numpy as np
import pytest
import torch

from pathomix.cohort.cases import Cases
from pathomix.methods.abmil import Bags


def test_large_bags_are_thinned_evenly(cohort: Cases) -> None:
    patient = max(cohort.ids, key=lambda p: len(cohort.tiles.bag(p).features))  # type: ignore[union-attr]
    whole = cohort.tiles.bag(patient).features  # type: ignore[union-attr]
    kept = Bags(cohort.subset([patient]), 5).features[0].numpy()
    places = [int(np.abs(whole - row).sum(axis=1).argmin()) for row in kept]
    assert len(places) == 5
    assert places[0] == 0
    assert places[-1] == len(whole) - 1
    assert max(np.diff(places)) - min(np.diff(places)) <= 1


def test_statistics_weigh_patients_equally_and_batches_are_standardised(cohort: Cases) -> None:
    few = cohort.subset(cohort.ids[:3])
    bags = Bags(few, 100)
    mean, sd = bags.moments()
    tiles = [bag.double().numpy() for bag in bags.features]
    expected = np.mean([t.mean(axis=0) for t in tiles], axis=0)
    spread = np.mean([((t - expected) ** 2).mean(axis=0) for t in tiles], axis=0) ** 0.5
    assert mean.numpy() == pytest.approx(expected, abs=1e-5)
    assert sd.numpy() == pytest.approx(spread, abs=1e-5)
    rows, bag = bags.batch(np.array([2, 0]), mean, sd)
    assert torch.bincount(bag).tolist() == [len(tiles[2]), len(tiles[0])]
    assert rows[: len(tiles[2])].numpy() == pytest.approx((tiles[2] - expected) / spread, abs=1e-3)
