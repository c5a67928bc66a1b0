"""The YAML that says how a user's tables map onto the cohort artefacts. Unknown keys are errors.

Every path in a description is relative to the data root and may contain ``{name}``, the cohort's name. Light imports
only: the workflow calls `input_paths` while it builds the graph.
"""

from __future__ import annotations

import difflib
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, Field, StrictStr, ValidationError, model_validator

from pathomix.cohort.block_specs import BlockSpec, MolecularSpec, PathwaysSpec, SlidesSpec
from pathomix.cohort.specs import (
    ClassLabelSpec,
    ClinicalSpec,
    FieldSpec,
    IdSpec,
    Scalar,
    Strict,
    SurvivalSpec,
    TableSpec,
    named_column,
)
from pathomix.cohort.specs import canonical as canonical
from pathomix.cohort.specs import fill as fill
from pathomix.core.errors import PathomixError

LOCKS = "resources/locks"
"""Folder of the slide locks, relative to the repository."""


class SplitSetSpec(Strict):
    """Folds made elsewhere.

    Either one file whose first column is the patient and whose further columns are folds (`values` maps a cell to a
    part), or one file per fold (`folds` fills `{fold}` in the path, `parts` maps a column of ids to a part), or a
    single fold with one file per part (`files` maps what fills `{part}` in the path to a part; `id` is the column with
    the patient, `records` as in a table).
    """

    path: str
    files: dict[str, Literal["train", "valid", "test"]] | None = None
    id: str | None = None
    records: str | None = None
    values: dict[Scalar, Literal["train", "valid", "test"]] | None = None
    folds: tuple[int, ...] | None = None
    parts: dict[str, Literal["train", "valid", "test"]] | None = None

    @model_validator(mode="after")
    def _one_form(self) -> SplitSetSpec:
        given = [key for key in ("values", "folds", "parts", "files", "id") if getattr(self, key) is not None]
        if given not in (["values"], ["folds", "parts"], ["files", "id"]):
            raise ValueError("give `values`, or both `folds` and `parts`, or both `files` and `id`")
        for key, placeholder in (("folds", "{fold}"), ("files", "{part}")):
            if key in given and placeholder not in self.path:
                raise ValueError(f"`{key}` needs `{placeholder}` in `path`")
        return self

    def paths(self, name: str) -> list[str]:
        """Paths of the set's files for cohort `name`."""
        if self.files is not None:
            return [fill(self.path, "splits.path", name=name, part=part) for part in self.files]
        return [fill(self.path, "splits.path", name=name, fold=fold) for fold in self.folds or ("",)]


class Description(Strict):
    """How one cohort's tables are read; a text as `location` holds for the whole cohort."""

    tables: dict[str, TableSpec] = Field(min_length=1)
    patients: str
    id: IdSpec = IdSpec()
    survival: SurvivalSpec | None = None
    class_label: Annotated[ClassLabelSpec, BeforeValidator(named_column)] | None = None
    tissue_source_site: Annotated[FieldSpec, BeforeValidator(named_column)] | None = None
    location: Annotated[StrictStr, Field(min_length=1)] | FieldSpec | None = None
    clinical: ClinicalSpec = ClinicalSpec()
    molecular: MolecularSpec = MolecularSpec()
    slides: SlidesSpec | None = None
    pathways: PathwaysSpec | None = None
    splits: dict[str, SplitSetSpec] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _tables_exist(self) -> Description:
        unknown = sorted(self.table_columns().keys() - self.tables.keys())
        if unknown:
            raise ValueError(f"table {unknown[0]!r} is not one of `tables` ({sorted(self.tables)})")
        return self

    def table_columns(self) -> dict[str, set[str]]:
        """Table name to the columns some key of the description reads there (molecular blocks aside)."""
        used: dict[str, set[str]] = {self.patients: set()}

        def use(table: str | None, *columns: str | None) -> None:
            used.setdefault(table or self.patients, set()).update(c for c in columns if c is not None)

        for table, spec in self.tables.items():
            use(table, spec.id, *(rule.column for rule in spec.exclude))
        for endpoint in self.survival.endpoints.values() if self.survival else ():
            time = endpoint.time
            use(endpoint.table, time.column, time.event_column, time.censored_column, endpoint.event.column)
        clinical = self.clinical
        label = self.class_label
        if label is not None:
            use(label.table, label.column, *label.columns.values())
        fields = [self.tissue_source_site, clinical.age, clinical.sex, clinical.stage, clinical.grade]
        location = self.location if isinstance(self.location, FieldSpec) else None
        for field in [*fields, location, *clinical.named.values()]:
            if field is not None:
                use(field.table, field.column)
        if self.slides is not None and self.slides.table is not None:
            pattern = {part[1] for part in string.Formatter().parse(self.slides.pattern) if part[1]}
            pattern -= {"slide_id", "patient_id", "name"}
            use(self.slides.table, self.slides.id, self.slides.mpp, self.slides.md5, self.slides.size, *pattern)
        for block in self.blocks().values():
            if block.table is not None:
                use(block.table)
        return used

    def blocks(self) -> dict[str, BlockSpec]:
        """The molecular blocks the cohort has, by kind."""
        found = {
            "expression": self.molecular.expression,
            "copy_number": self.molecular.copy_number,
            "mutation": self.molecular.mutation,
        }
        return {kind: spec for kind, spec in found.items() if spec is not None}


def read_description(path: str | Path) -> Description:
    """Read and validate a description.

    Raises:
        PathomixError: Not YAML, an unknown or missing key, a value out of its range.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise PathomixError(f"{path}: cannot be read as YAML ({error})", remedy="correct the description") from error
    if not isinstance(content, dict):
        raise PathomixError(f"{path}: not a mapping", remedy="start from config/cohorts/simulated.yaml")
    return parse_description(content, str(path))


def parse_description(content: Mapping[str, Any], source: str) -> Description:
    """Validate the content of a description; `source` names it in errors."""
    try:
        return Description.model_validate(dict(content))
    except ValidationError as error:
        raise PathomixError(
            f"{source}: the description is not understood",
            offending=[_explain(item) for item in error.errors()],
            remedy="correct these keys; config/README.md explains each of them",
        ) from error


def _explain(item: Any) -> str:
    location = [str(part) for part in item["loc"]]
    where = ".".join(location) or "description"
    if item["type"] != "extra_forbidden":
        return f"`{where}` {item['msg'].removeprefix('Value error, ')}"
    model: Any = Description
    for part in location[:-1]:
        model = _descend(model, part)
    known = list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []
    near = difflib.get_close_matches(location[-1], known, n=1)
    return f"`{where}` is an unknown key" + (f" (did you mean `{near[0]}`?)" if near else f" (known: {known})")


def _descend(model: Any, part: str) -> Any:
    """The model a key of `model` holds; mappings and optional values are looked through."""
    fields = getattr(model, "model_fields", {})
    annotation = fields[part].annotation if part in fields else model
    stack = [annotation]
    while stack:
        current = stack.pop()
        if isinstance(current, type) and issubclass(current, BaseModel):
            return current
        stack.extend(getattr(current, "__args__", ()))
    return None


def input_paths(
    description: Description, name: str, root: str | Path, *, repository: str | Path = ".", locks: str | Path = LOCKS
) -> dict[str, Path]:
    """Every file the import of cohort `name` reads: path as described to its place.

    Args:
        description: What is read.
        name: The cohort.
        root: Folder of the data; most paths are relative to it.
        repository: Folder that class definitions and recommended endpoints are relative to.
        locks: Folder of the slide locks, relative to the repository or absolute.
    """
    result = [path for spec in description.blocks().values() for path in spec.files(name)]
    if description.molecular.symbols is not None:
        result.append(symbols_path(description, name))
    if description.pathways is not None:
        wanted = description.pathways.wanted(name)
        result += [*description.pathways.files(name), *([wanted] if wanted else [])]
    for table in description.tables.values():
        result += table.files(name).values()
    for split in description.splits.values():
        result += split.paths(name)
    found = {path: Path(root) / path for path in sorted(set(result))}
    own = Path(repository)
    if description.class_label is not None and description.class_label.file is not None:
        found[description.class_label.file] = own / description.class_label.file
    if description.survival is not None and description.survival.recommended is not None:
        found[description.survival.recommended.file] = own / description.survival.recommended.file
    for file in lock_files(description, name):
        found[f"locks/{file}"] = own / locks / file
    return found


def symbols_path(description: Description, name: str) -> str:
    """Path of the table of aliases."""
    assert description.molecular.symbols is not None
    return fill(description.molecular.symbols.aliases, "molecular.symbols.aliases", name=name)


def lock_files(description: Description, name: str) -> list[str]:
    """The lock of the slides and what stands beside it; empty where slides come from a table."""
    if description.slides is None or description.slides.lock is None:
        return []
    lock = fill(description.slides.lock, "slides.lock", name=name)
    return [f"{lock}.slides.tsv", f"{lock}.slides.yaml"]
