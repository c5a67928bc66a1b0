from __future__ import annotations

from pathlib import Path

import pytest

from pathomix.core.errors import PathomixError
from pathomix.workflow.cohorts import CohortPlan
from pathomix.workflow.regions import RegionPlan

COHORTS = {
    "a": {"description": "config/cohorts/simulated.yaml"},
    "b": {"description": "config/cohorts/simulated.yaml"},
    "both": {"union": ["a", "b"]},
}


def plan_of(root: Path, **regions: object) -> RegionPlan:
    config = {
        "results": "results/x", "data": "tables", "simulation": {}, "cohorts": COHORTS, "regions": regions,
        "slides": {"shards": 1}, "acquire": {"folder": "{data}", "locks": "locks"},
    }  # fmt: skip
    return RegionPlan(config, root, CohortPlan(config, root))


def test_cut_and_imported_are_told_apart_by_the_folder(root: Path) -> None:
    plan = plan_of(root, roi={"size": 64, "stain_target": "{data}/target.png"}, given={"folder": "{data}/roi/{cohort}"})
    assert plan.names == ["roi", "given"]
    assert plan.cut == {"roi": {"size": 64, "stain_target": "tables/target.png"}}
    assert plan.stain_target("roi") == ["tables/target.png"]
    assert plan.imported == {"given": {}}
    assert plan.folder("given", "a") == "tables/roi/a"


def test_a_union_reads_the_regions_of_its_members(root: Path) -> None:
    plan = plan_of(root, roi={})
    assert plan.regions_of("roi", "both") == ["results/x/regions/roi/a.h5", "results/x/regions/roi/b.h5"]
    assert plan.stain_target("roi") == []


def test_files_to_import_are_listed_without_leaving_the_repository(root: Path, tmp_path: Path) -> None:
    for name in ("b.png", "a.png", "notes.txt"):
        (tmp_path / name).touch()
    assert plan_of(root, given={"folder": str(tmp_path)}).files("given", "a") == [
        str(tmp_path / "a.png"),
        str(tmp_path / "b.png"),
    ]


@pytest.mark.parametrize("entry", [{"sise": 3}, {"folder": "x", "mpp": 1}])
def test_unknown_parameters_are_named(root: Path, entry: dict[str, object]) -> None:
    with pytest.raises(PathomixError, match=r"regions.roi: unknown parameters: (sise|mpp)"):
        plan_of(root, roi=entry)
