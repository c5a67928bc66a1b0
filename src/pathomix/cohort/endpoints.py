"""The survival endpoint that the curated clinical resource recommends for a project, kept as data.

TCGA's curated clinical resource (Liu et al., Cell 2018) rates OS, PFI, DFI and DSS per project. The file lists, per
project, what is recommended and what is usable with caution; what is in neither list is not to be used.
"""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import Field, StrictStr, ValidationError, model_validator

from pathomix.cohort.specs import RecommendedSpec, Strict
from pathomix.core.errors import PathomixError


class ProjectEndpoints(Strict):
    """Ratings of one project's endpoints, and where they are known from."""

    recommended: tuple[StrictStr, ...] = ()
    caution: tuple[StrictStr, ...] = ()
    evidence: str

    @model_validator(mode="after")
    def _disjoint(self) -> ProjectEndpoints:
        if set(self.recommended) & set(self.caution):
            raise ValueError("an endpoint is both recommended and usable with caution")
        return self


class EndpointTable(Strict):
    """Content of the file: `order` says which endpoint is taken first where several are recommended."""

    source: str
    order: tuple[StrictStr, ...] = Field(min_length=1)
    projects: dict[StrictStr, ProjectEndpoints] = Field(min_length=1)


def recommended_endpoint(spec: RecommendedSpec, repository: str | Path = ".") -> str:
    """The endpoint for a cohort of one or more projects.

    The first of the file's order that all projects recommend; where there is none, the first that all projects at least
    allow with caution.

    Args:
        spec: The projects and the file.
        repository: Folder the file is relative to.

    Raises:
        PathomixError: The file is not understood, a project is not in it, or no endpoint serves all of them.
    """
    path = Path(repository) / spec.file
    try:
        table = EndpointTable.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError, ValidationError) as error:
        raise PathomixError(f"{path}: cannot be understood ({error})", remedy="correct the file") from error
    unknown = sorted(set(spec.projects) - set(table.projects))
    if unknown:
        raise PathomixError(
            f"{spec.file}: projects are not known (it has {', '.join(sorted(table.projects))})", offending=unknown,
            remedy="correct `survival.recommended.projects`, or name an endpoint as `survival.default_endpoint`",
        )  # fmt: skip
    rated = [table.projects[project] for project in spec.projects]
    for allowed in ([set(p.recommended) for p in rated], [{*p.recommended, *p.caution} for p in rated]):
        found = [endpoint for endpoint in table.order if all(endpoint in project for project in allowed)]
        if found:
            return found[0]
    raise PathomixError(
        f"{spec.file}: no endpoint is usable in all projects", offending=spec.projects,
        remedy="name an endpoint as `survival.default_endpoint`, or set `endpoint` of the cohort",
    )  # fmt: skip
