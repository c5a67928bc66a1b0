from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pathomix.simulate import nuclei
from pathomix.simulate.slide_plan import GRID_UM, PLANTED, SlidePlan, layout

Placed = tuple[list[nuclei.Cells], nuclei.Glands]


@pytest.fixture(scope="module")
def mixed(plan: SlidePlan) -> SlidePlan:
    """All growth patterns on a larger slide."""
    return replace(plan, size_um=400.0, extent=0.4, patterns=(0.4, 0.3, 0.3))


def test_planted_nuclei_are_denser_larger_and_darker_than_all_others() -> None:
    pictures = {kind: nuclei.stamps(kind, 0.25, 1.0) for kind in nuclei.KINDS}
    area = {k: np.mean([(s > 60).sum() for row in p for s in row]) for k, p in pictures.items()}
    tone = {k: np.mean([np.median(s[s > 60]) for row in p for s in row]) for k, p in pictures.items()}
    others = [kind for kind in nuclei.KINDS if kind != "planted"]
    assert area["planted"] > 1.7 * max(area[kind] for kind in others)
    assert tone["planted"] > 1.3 * max(tone[kind] for kind in others)


def test_stamps_keep_their_physical_size() -> None:
    for kind in nuclei.KINDS:
        area = [
            np.mean([(s > 60).sum() * mpp**2 for r in nuclei.stamps(kind, mpp, 1.0) for s in r]) for mpp in (0.25, 0.5)
        ]
        assert abs(area[0] / area[1] - 1) < 0.15, kind
    plain, larger = (np.mean([(s > 60).sum() for r in nuclei.stamps("solid", 0.25, f) for s in r]) for f in (1.0, 1.2))
    assert 1.3 < larger / plain < 1.6


def test_stamp_lies_along_its_direction() -> None:
    pictures = nuclei.stamps("stroma", 0.25, 1.0)
    for number, row in enumerate(pictures):
        y, x = np.nonzero(row[0] > 60)
        centred = np.stack([x - x.mean(), y - y.mean()])
        direction = np.linalg.eigh(centred @ centred.T)[1][:, 1]
        angle = np.pi * number / len(pictures)
        assert abs(direction @ (np.cos(angle), np.sin(angle))) > 0.97


@pytest.fixture(scope="module")
def placed(mixed: SlidePlan) -> Placed:
    drawn = layout(mixed)
    return nuclei.place(mixed, drawn, np.zeros(drawn.region.shape, np.float32))


def test_nuclei_lie_in_their_regions_inside_the_tissue(mixed: SlidePlan, placed: Placed) -> None:
    drawn = layout(mixed)
    for cells in placed[0]:
        where = drawn.region[(cells.y / GRID_UM).astype(int), (cells.x / GRID_UM).astype(int)]
        assert len(where) > 5
        assert (where == PLANTED).all() if cells.kind == "planted" else not (where == PLANTED).any()
        assert (drawn.tissue[(cells.y / GRID_UM).astype(int), (cells.x / GRID_UM).astype(int)] > 0.5).all()


def test_density_of_planted_nuclei(mixed: SlidePlan, placed: Placed) -> None:
    drawn = layout(mixed)
    planted = next(cells for cells in placed[0] if cells.kind == "planted")
    area_mm2 = (drawn.region == PLANTED).sum() * (GRID_UM / 1000) ** 2
    assert 8000 < len(planted.x) / area_mm2 < 12000


def test_ring_nuclei_surround_gland_centres(placed: Placed) -> None:
    cells, glands = placed
    ring = next(group for group in cells if group.kind == "gland")
    distance = np.hypot(ring.x[:, None] - glands.x, ring.y[:, None] - glands.y).min(axis=1)
    assert (distance > 0.5 * glands.short.min()).mean() > 0.98 and distance.max() < 1.2 * glands.long.max()


def test_a_slide_without_glands(plan: SlidePlan) -> None:
    plan = replace(plan, patterns=(0.0, 1.0))
    drawn = layout(plan)
    cells, glands = nuclei.place(plan, drawn, np.zeros(drawn.region.shape, np.float32))
    assert len(glands.x) == 0 and sum(len(c.x) for c in cells if c.kind == "gland") == 0
