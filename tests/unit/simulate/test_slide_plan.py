from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pathomix.core.errors import PathomixError
from pathomix.simulate.parameters import Parameters
from pathomix.simulate.patients import draw_patients
from pathomix.simulate.slide_plan import (
    FIRST_PATTERN,
    OUTSIDE,
    PLANTED,
    STROMA,
    SlidePlan,
    blur_mask,
    layout,
    pen_mask,
    plan_slides,
    planted_mask,
    tissue_mask,
)
from pathomix.simulate.tables import slide_table


def plans_of(parameters: Parameters, cohort: str) -> tuple[list[SlidePlan], pd.DataFrame]:
    truth = draw_patients(parameters, cohort).truth.reset_index()
    return plan_slides(parameters, cohort, truth, slide_table(parameters, cohort, pd.Index(truth["patient_id"]))), truth


@pytest.fixture(scope="module")
def plans() -> list[SlidePlan]:
    return plans_of(Parameters(), "sim_b")[0]


def test_planted_share_of_the_tissue_is_the_truth(plans: list[SlidePlan]) -> None:
    for plan in plans[:15]:
        drawn, tissue = planted_mask(plan), tissue_mask(plan)
        assert tissue.shape == (plan.pixels, plan.pixels)
        assert not (drawn & ~tissue).any()
        assert abs(drawn.sum() / tissue.sum() - plan.extent) < 0.01


def test_extent_follows_the_patient_and_agrees_between_slides() -> None:
    plans, truth = plans_of(Parameters(), "sim_a")
    planned = pd.DataFrame({"patient_id": [p.patient_id for p in plans], "planned": [p.extent for p in plans]})
    joined = planned.merge(truth, on="patient_id")
    assert joined["planned"].corr(joined["extent"]) > 0.99
    assert planned.groupby("patient_id")["planned"].agg(np.ptp).max() < 0.08


def test_patterns_cover_their_share_of_the_remaining_tissue(plans: list[SlidePlan]) -> None:
    for plan in plans[:15]:
        region = layout(plan).region
        shares = np.array([(region == FIRST_PATTERN + k).sum() for k in range(len(plan.patterns))])
        # The septa take their part of every pattern, of small ones by chance.
        np.testing.assert_allclose(shares / shares.sum(), plan.patterns, atol=0.08)
        rest = ((region != OUTSIDE) & (region != PLANTED)).sum()
        assert abs((region == STROMA).sum() / rest - 0.22) < 0.01


def test_tissue_is_one_or_two_pieces_away_from_the_border(plans: list[SlidePlan]) -> None:
    for plan in plans[:15]:
        mask = tissue_mask(plan)
        assert abs(mask.mean() - plan.tissue_share) < 0.03 or plan.pieces == 2
        assert 0.5 < mask.mean() < 0.8
        edge = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
        assert edge.mean() < 0.02


def test_shares_of_scans_marks_and_pieces(plans: list[SlidePlan]) -> None:
    share = {
        "fine": np.mean([p.mpp == 0.25 for p in plans]),
        "pen": np.mean([p.pen is not None for p in plans]),
        "blurred": np.mean([p.blurred for p in plans]),
        "pieces": np.mean([p.pieces == 2 for p in plans]),
    }
    for name, stated in {"fine": 0.3, "pen": 0.08, "blurred": 0.08, "pieces": 0.2}.items():
        assert abs(share[name] - stated) < 4 * np.sqrt(stated * (1 - stated) / len(plans)), name
    assert {p.pen for p in plans} == {None, "blue", "green", "black"}


def test_marks_are_where_the_plan_says(plans: list[SlidePlan]) -> None:
    marked = [plan for plan in plans if plan.pen or plan.blurred][:8]
    for plan in [*marked, *plans[:4]]:
        assert pen_mask(plan).any() == (plan.pen is not None)
        assert blur_mask(plan).any() == plan.blurred


@pytest.mark.parametrize("cohort", ["sim_a", "sim_b", "sim_c"])
def test_defects_spare_a_slide_of_their_patient_and_the_unseen_cohort(cohort: str) -> None:
    plans, _ = plans_of(Parameters(), cohort)
    bad = [p for p in plans if p.truncated or not p.has_mpp]
    assert sorted((p.truncated, p.has_mpp) for p in bad) == (
        [] if cohort == "sim_c" else [(False, False), (True, True)]
    )
    good = {p.patient_id for p in plans if p not in bad}
    assert {p.patient_id for p in bad} <= good


def test_stain_belongs_to_the_site(plans: list[SlidePlan]) -> None:
    stains = pd.DataFrame([p.stains for p in plans]).groupby([p.patient_id[5:7] for p in plans])
    assert (stains.mean().std() > 2 * stains.std().mean()).any()


def test_a_slide_does_not_depend_on_the_others(small: Parameters) -> None:
    truth = draw_patients(small, "sim_a").truth.reset_index()
    slides = slide_table(small, "sim_a", pd.Index(truth["patient_id"]))
    everything = {p.slide_id: p for p in plan_slides(small, "sim_a", truth, slides)}
    healthy = [name for name, p in everything.items() if p.has_mpp and not p.truncated]
    some = slides[slides["slide_id"].isin(healthy[5:9])]
    parameters = dataclasses.replace(small, slides=dataclasses.replace(small.slides, unreadable=0, without_mpp=0))
    for plan in plan_slides(parameters, "sim_a", truth, some):
        assert plan == everything[plan.slide_id]


def test_slide_of_an_unknown_patient_is_refused(small: Parameters, simulation: Path) -> None:
    truth = pd.read_parquet(simulation / "sim_a" / "truth.parquet")
    slides = pd.read_csv(simulation / "sim_a" / "slides.tsv", sep="\t")
    with pytest.raises(PathomixError, match=slides["bcr_patient_barcode"][0]):
        plan_slides(small, "sim_a", truth[truth["patient_id"] != slides["bcr_patient_barcode"][0]], slides)
