from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pathomix.core.errors import PathomixError
from pathomix.slides.tilings import tiling_name
from pathomix.workflow.cohorts import CohortPlan
from pathomix.workflow.slides import SlidePlan

ENCODERS = {
    "small": {"model": "demo"},
    "twin": {"model": "demo", "seed": 1},
    "large": {"model": "timm", "timm": "resnet18", "tile_size": 512, "mpp": 0.5},
    "own": {"model": "resnet50", "weights": "{data}/r50.safetensors"},
}


def plan_of(root: Path, lock: Path | None = None, **changes: Any) -> SlidePlan:
    slides = {"shards": 3, "tissue": {}, "tiles": {}, "max_lost_share": 0.1, "imported": {}} | changes.pop("slides", {})
    config = {
        "results": "R", "data": "D", "simulation": {}, "slides": slides, "encoders": ENCODERS, "embedding": {},
        "cohorts": {name: {"description": "config/cohorts/simulated.yaml"} for name in ("a", "b")},
        "acquire": {"folder": "{data}", "locks": str(lock or "locks")}, **changes,
    }  # fmt: skip
    return SlidePlan(config, root, CohortPlan(config, root))


def test_an_encoder_in_no_pass_has_one_of_its_own(root: Path) -> None:
    plan = plan_of(root, embedding={"passes": {"both": ["small", "large"]}, "precision": "fp32"})
    assert plan.passes == {"both": ["small", "large"], "twin": ["twin"], "own": ["own"]}
    assert plan.engine == {"precision": "fp32"}
    assert plan.pass_indices("large", "a") == [f"R/features/passes/both/a-{shard}.parquet" for shard in range(3)]
    assert plan.tile_indices("both", "a", "2") == [
        "R/slides/a/tiles-512px_0.5mpp-2.parquet", "R/slides/a/tiles-64px_2mpp-2.parquet"
    ]  # fmt: skip
    assert plan.pass_weights("own") == ["D/r50.safetensors"] and plan.pass_weights("both") == []
    assert "pathomix.slides.encoders.models.plain" in plan.pass_modules("both")


def test_tilings_are_named_as_the_library_names_them(root: Path) -> None:
    plan = plan_of(root)
    assert plan.tilings == {"64px_2mpp": (64, 2.0), "512px_0.5mpp": (512, 0.5), "256px_0.5mpp": (256, 0.5)}
    assert set(plan.tilings) == {tiling_name(size, mpp) for size, mpp in plan.tilings.values()}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"embedding": {"passes": {"x": ["small"], "y": ["small"]}}}, "in two passes.*small"),
        ({"embedding": {"passes": {"small": ["large"]}}}, "name of an encoder outside it: small"),
        ({"embedding": {"passes": {"x": ["tiny"]}}}, "embedding.passes.x names what is not defined: tiny"),
        ({"embedding": {"batchsize": 3}}, "embedding: unknown parameters: batchsize"),
        ({"slides": {"tiles": {"size": 256}}}, "slides.tiles: unknown parameters: size"),
        ({"slides": {"tissue": {"msaker": "x"}}}, "slides.tissue: unknown parameters: msaker"),
        ({"slides": {"imported": {"7px_1mpp": "x"}}}, "slides.imported names what is not defined: 7px_1mpp"),
        ({"encoders": {"e": {"model": "gigapath"}}}, "no weights of Prov-GigaPath"),
    ],
)
def test_what_is_not_known_is_named(root: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(PathomixError, match=message):
        plan_of(root, **changes)


def test_the_number_of_shards_follows_the_lock_in_steps(root: Path, tmp_path: Path) -> None:
    wanted = {"slides": {"slides_per_job": 10}}
    assert len(plan_of(root, tmp_path, **wanted).shards("a")) == 3, "no lock yet: slides.shards"
    for slides, shards in ((1, 1), (10, 1), (11, 2), (20, 2), (21, 4), (40, 4), (41, 8)):
        (tmp_path / "a.slides.tsv").write_text("header\n" + "x\n" * slides)
        (tmp_path / "a.slides.yaml").write_text("{}")
        assert len(plan_of(root, tmp_path, **wanted).shards("a")) == shards
    assert len(plan_of(root, tmp_path, **wanted).shards("b")) == 3


def test_overrides_are_checked_against_the_slides_of_all_cohorts(root: Path) -> None:
    plan = plan_of(root, slides={"overrides": "{data}/o.tsv", "imported": {"64px_2mpp": "{data}/t/{slide_id}.h5"}})
    assert plan.overrides() == ["D/o.tsv"]
    assert plan.known_slides() == ["R/cohort/a/slides.parquet", "R/cohort/b/slides.parquet"]
    assert plan.imported("64px_2mpp") == ["D/t/{slide_id}.h5"] and plan.imported("512px_0.5mpp") == []
    assert plan_of(root).known_slides() == []
