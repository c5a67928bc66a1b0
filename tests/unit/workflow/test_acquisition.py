from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pathomix.acquire.requests import parse_request
from pathomix.core.errors import PathomixError
from pathomix.workflow.acquisition import AcquisitionPlan
from pathomix.workflow.cohorts import CohortPlan

FILES = {
    "raw/genes/hgnc_complete_set.tsv": "https://genes.example/hgnc.tsv",
    "raw/gene_sets/reactome.gmt": "https://sets.example/r.gmt",
    "raw/gene_sets/hallmark.gmt": "https://sets.example/h.gmt",
}
KIRC = {"description": "config/cohorts/tcga_kirc.yaml", "projects": ["TCGA-KIRC"]}


def plans(root: Path, cohorts: dict[str, Any], **acquire: Any) -> tuple[CohortPlan, AcquisitionPlan]:
    section = {"folder": "{data}", "locks": "locks", "files": FILES, "token_env": "T", "parallel": 2} | acquire
    config = {
        "results": "R", "data": "D", "simulation": {}, "slides": {"shards": 2}, "cohorts": cohorts, "acquire": section,
    }  # fmt: skip
    made = CohortPlan(config, root)
    return made, AcquisitionPlan(config, made)


def test_every_fetched_file_of_a_cohort_has_a_source(root: Path) -> None:
    cohorts, plan = plans(root, {"kirc": KIRC})
    assert plan.locked == ["kirc"] and plan.lock("kirc") == "locks/tcga_kirc.slides.tsv"
    assert plan.slide_indices("kirc", "1") == ["R/acquired/kirc/slides-1.tsv"]
    fetched = [path.removeprefix("D/") for path in cohorts_inputs(cohorts) if path.startswith("D/")]
    assert set(fetched) == set(plan.files) and "raw/xena/survival/KIRC_survival.txt" in fetched
    for target, source in plan.files.items():
        assert parse_request(target, source).target == target
    assert plan.files["raw/xena/TCGA.KIRC.sampleMap/HiSeqV2.gz"] == "TCGA.KIRC.sampleMap/HiSeqV2.gz"
    assert plan.pins == "locks/pins.yaml" and plan.archive_with("raw/gene_sets/hallmark.gmt") == []


def cohorts_inputs(cohorts: CohortPlan) -> list[str]:
    cohorts._check_present = lambda *_: None  # type: ignore[method-assign]
    return cohorts.raw_inputs("kirc")


def test_a_missing_lock_stops_the_plan_with_the_command(root: Path) -> None:
    cohorts, _ = plans(root, {"kirc": KIRC})
    with pytest.raises(
        PathomixError, match=r"not locked.*lock_slides.py --projects TCGA-KIRC --output locks/tcga_kirc"
    ):
        cohorts.raw_inputs("kirc")


def test_a_file_of_no_known_source_is_named(root: Path) -> None:
    with pytest.raises(PathomixError, match=r"nothing says how to fetch.*raw/gene_sets/hallmark.gmt"):
        plans(root, {"kirc": KIRC}, files={k: v for k, v in FILES.items() if "hallmark" not in k})


def test_a_cohort_reads_where_is_fetched_to(root: Path) -> None:
    with pytest.raises(PathomixError, match="reads fetched files from elsewhere, but they are fetched to D"):
        plans(root, {"kirc": {**KIRC, "root": "elsewhere"}})
    tables = {"description": "config/cohorts/porpoise_kirc.yaml", "root": "elsewhere"}
    assert plans(root, {"kirc": tables})[1].locked == []
