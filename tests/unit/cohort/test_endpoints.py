from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pathomix.cohort.endpoints import EndpointTable, recommended_endpoint
from pathomix.cohort.specs import RecommendedSpec
from pathomix.core.errors import PathomixError

TABLE = {
    "source": "s", "order": ["OS", "PFI", "DSS"],
    "projects": {
        "A": {"recommended": ["PFI", "OS"], "evidence": "e"}, "B": {"recommended": ["PFI"], "caution": ["OS"],
        "evidence": "e"}, "C": {"caution": ["OS", "DSS"], "evidence": "e"}, "D": {"caution": ["DFI"], "evidence": "e"},
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("projects", "endpoint"), [("A", "OS"), ("B", "PFI"), ("AB", "PFI"), ("C", "OS"), ("ABC", "OS")]
)
def test_what_all_projects_recommend_comes_first(tmp_path: Path, projects: str, endpoint: str) -> None:
    (tmp_path / "e.yaml").write_text(yaml.safe_dump(TABLE))
    assert recommended_endpoint(RecommendedSpec(file="e.yaml", projects=tuple(projects)), tmp_path) == endpoint


@pytest.mark.parametrize(
    ("projects", "message"), [("AX", r"not known \(it has A, B, C, D\): X"), ("AD", r"no endpoint is usable.*: A, D")]
)
def test_no_endpoint(tmp_path: Path, projects: str, message: str) -> None:
    (tmp_path / "e.yaml").write_text(yaml.safe_dump(TABLE))
    with pytest.raises(PathomixError, match=message):
        recommended_endpoint(RecommendedSpec(file="e.yaml", projects=tuple(projects)), tmp_path)


def test_a_file_that_is_not_understood(tmp_path: Path) -> None:
    both = {"A": {"recommended": ["OS"], "caution": ["OS"], "evidence": "e"}}
    (tmp_path / "e.yaml").write_text(yaml.safe_dump(TABLE | {"projects": both}))
    with pytest.raises(PathomixError, match=r"both|cannot be understood"):
        recommended_endpoint(RecommendedSpec(file="e.yaml", projects=("A",)), tmp_path)


def test_the_shipped_file_names_all_projects_and_its_evidence(root: Path) -> None:
    table = EndpointTable.model_validate(yaml.safe_load((root / "resources/endpoints.yaml").read_text()))
    assert len(table.projects) == 33
    for project, rated in table.projects.items():
        assert rated.evidence and {*rated.recommended, *rated.caution} <= set(table.order), project
