"""The YAML that says how a user's tables map onto the cohort artefacts. Unknown keys are errors.

Every path in a description is relative to the data root and may contain ``{name}``, the cohort's name.
Light imports only: the workflow calls `input_paths` while it builds the graph.
"""

from __future__ import annotations

import difflib
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationError,
    model_validator,
)

from pathomix.core.errors import PathomixError

# Booleans are refused on purpose: YAML reads an unquoted `no` as false.
Scalar = StrictStr | StrictInt | StrictFloat

MISSING = ("", "NA", "N/A", "NaN", "nan", "null", "None", "--", "'--", "[Not Available]", "[Not Applicable]")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _named_column(value: Any) -> Any:
    return {"column": value} if isinstance(value, str) else value


class Exclude(_Strict):
    """Rows left out on purpose: the text of `column` matches, or does not match, a regular expression."""

    column: str
    matching: str | None = None
    not_matching: str | None = None
    reason: str

    @model_validator(mode="after")
    def _one_pattern(self) -> Exclude:
        if (self.matching is None) == (self.not_matching is None):
            raise ValueError("give exactly one of `matching` and `not_matching`")
        return self


class TableSpec(_Strict):
    """A file with one row per patient or per slide.

    Attributes:
        path: csv, tsv or txt (tab), each also as .gz or .zip; parquet; json (records, also .gz).
        parts: For a table that lies in several files: what fills `{part}` in the path, in order.
        id: Column with the patient.
        records: For JSON, the key under which the list of records lies.
        missing: Texts that mean "not known".
        exclude: Rows left out on purpose.
    """

    path: str
    id: str
    parts: tuple[str, ...] = ()
    records: str | None = None
    missing: tuple[str, ...] = MISSING
    exclude: tuple[Exclude, ...] = ()

    @model_validator(mode="after")
    def _parts_fill_the_path(self) -> TableSpec:
        if bool(self.parts) != ("{part}" in self.path):
            raise ValueError("`parts` and `{part}` in `path` go together")
        return self

    def files(self, name: str) -> list[str]:
        """Paths of the table's files for cohort `name`."""
        return [fill(self.path, "tables.path", name=name, part=part) for part in self.parts or ("",)]


class IdSpec(_Strict):
    """`tcga_barcode`: cut to the 12-character patient barcode. `verbatim`: taken as it stands."""

    kind: Literal["tcga_barcode", "verbatim"] = "tcga_barcode"


class FieldSpec(_Strict):
    """A column with text values. With a `map`, a value outside the map and `ignore` is an error; ignored = missing."""

    column: str
    table: str | None = None
    map: dict[Scalar, StrictStr] | None = None
    ignore: tuple[Scalar, ...] = ()


class AgeSpec(_Strict):
    """Age at diagnosis."""

    column: str
    table: str | None = None
    unit: Literal["years", "days"] = "years"


class ExtraSpec(FieldSpec):
    """A further clinical column, written as `clinical_<name>`."""

    kind: Literal["category", "number"] = "category"


class TimeSpec(_Strict):
    """Follow-up time: one column, or one for patients with the event and one for censored patients."""

    column: str | None = None
    event_column: str | None = None
    censored_column: str | None = None
    unit: Literal["days", "months"]
    days_per_month: float | None = Field(default=None, gt=27, lt=32)

    @model_validator(mode="after")
    def _complete(self) -> TimeSpec:
        pair = (self.event_column, self.censored_column)
        if (self.column is None) == (None in pair) or (self.column is not None and pair != (None, None)):
            raise ValueError("give either `column`, or both `event_column` and `censored_column`")
        if (self.unit == "months") != (self.days_per_month is not None):
            raise ValueError("`unit: months` needs `days_per_month` (30.4375, 30.44 or 30), and only months does")
        return self


class EventSpec(_Strict):
    """Event coding. A value in neither list (and not missing) is an error."""

    column: str
    event_values: tuple[Scalar, ...] = Field(min_length=1)
    censored_values: tuple[Scalar, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _disjoint(self) -> EventSpec:
        if {canonical(v) for v in self.event_values} & {canonical(v) for v in self.censored_values}:
            raise ValueError("a value is in both `event_values` and `censored_values`")
        return self


class EndpointSpec(_Strict):
    """One survival endpoint (OS, DSS, PFI, ...)."""

    table: str | None = None
    time: TimeSpec
    event: EventSpec


class SurvivalSpec(_Strict):
    """Endpoints; `non_positive` says what a time of zero days or less does."""

    default_endpoint: str
    non_positive: Literal["error", "quarantine"] = "error"
    endpoints: dict[str, EndpointSpec] = Field(min_length=1)

    @model_validator(mode="after")
    def _default_exists(self) -> SurvivalSpec:
        if self.default_endpoint not in self.endpoints:
            raise ValueError(f"`default_endpoint` must be one of {sorted(self.endpoints)}")
        return self


class ClinicalSpec(_Strict):
    """Clinical columns with a fixed meaning, and further ones.

    `t`, `n`, `m` (AJCC categories) and `diagnosis` keep the registry's own words; the label texts clean them.
    """

    age: Annotated[AgeSpec, BeforeValidator(_named_column)] | None = None
    sex: Annotated[FieldSpec, BeforeValidator(_named_column)] | None = None
    stage: Annotated[FieldSpec, BeforeValidator(_named_column)] | None = None
    grade: Annotated[FieldSpec, BeforeValidator(_named_column)] | None = None
    t: Annotated[FieldSpec, BeforeValidator(_named_column)] | None = None
    n: Annotated[FieldSpec, BeforeValidator(_named_column)] | None = None
    m: Annotated[FieldSpec, BeforeValidator(_named_column)] | None = None
    diagnosis: Annotated[FieldSpec, BeforeValidator(_named_column)] | None = None
    extra: dict[str, Annotated[ExtraSpec, BeforeValidator(_named_column)]] = {}

    @model_validator(mode="after")
    def _names_free(self) -> ClinicalSpec:
        taken = sorted({"t", "n", "m", "diagnosis", "location"} & set(self.extra))
        if taken:
            raise ValueError(f"{taken} have keys of their own and cannot be names of `extra`")
        return self

    @property
    def named(self) -> dict[str, FieldSpec]:
        """Columns written as `clinical_<name>`."""
        own = {"t": self.t, "n": self.n, "m": self.m, "diagnosis": self.diagnosis}
        return {**{name: spec for name, spec in own.items() if spec is not None}, **self.extra}


class BlockSpec(_Strict):
    """Where a molecular matrix lies and what happens to what cannot be used as it stands.

    Attributes:
        table: A table of `tables` that holds the block, selected by `suffix` or by `remaining`.
        suffix: Ending of the block's columns; the rest of the column's name is the gene symbol.
        remaining: Take every column no other key uses, except the columns listed here.
        path: Own file of the block instead; its first column holds the row names.
        orientation: Of the own file.
        sample_types: TCGA sample types to use; required where the ids carry one.
        aliquots: Several different rows of one patient. `first` is the first in the order of sample ids.
        duplicate_genes: Several columns with one symbol.
        missing: Single missing values. `impute_median` leaves them in place for the method to impute.
    """

    table: str | None = None
    suffix: str | None = None
    remaining: tuple[str, ...] | None = None
    path: str | None = None
    orientation: Literal["patients_in_rows", "genes_in_rows"] | None = None
    sample_types: tuple[StrictStr, ...] | None = None
    aliquots: Literal["error", "average", "first"] = "error"
    duplicate_genes: Literal["error", "max_variance", "mean"] = "error"
    missing: Literal["error", "impute_median"] = "error"

    @model_validator(mode="after")
    def _one_place(self) -> BlockSpec:
        if (self.path is None) == (self.table is None):
            raise ValueError("give either `table` (with `suffix` or `remaining`) or `path` (with `orientation`)")
        if self.table is not None and (self.suffix is None) == (self.remaining is None):
            raise ValueError("a block in a `table` needs exactly one of `suffix` and `remaining`")
        if self.path is not None and (self.orientation is None or self.suffix or self.remaining is not None):
            raise ValueError("a block in its own `path` needs `orientation`, and neither `suffix` nor `remaining`")
        return self


class ExpressionSpec(BlockSpec):
    """Gene expression. The scale cannot be guessed from the numbers, so it is named."""

    scale: Literal[
        "counts", "tpm", "fpkm", "log2_tpm_plus_1", "log2_tpm_plus_0.001", "log2_fpkm_plus_1", "log2_norm_count_plus_1",
        "log2_norm_count_centred", "zscore",
    ]  # fmt: skip


class CopyNumberSpec(BlockSpec):
    """Copy number, GISTIC calls -2..2 or log2 ratios."""

    scale: Literal["gistic", "log2_ratio"] = "gistic"


class MolecularSpec(_Strict):
    """Molecular blocks; mutation is 0/1 per gene."""

    expression: ExpressionSpec | None = None
    copy_number: CopyNumberSpec | None = None
    mutation: BlockSpec | None = None


class SlidesSpec(_Strict):
    """Slide list. `path` may use `{slide_id}`, `{patient_id}`, `{name}` and any column of the table."""

    table: str
    id: str
    strip_suffix: str = ""
    path: str = "{slide_id}.svs"
    mpp: str | None = None
    md5: str | None = None
    size: str | None = None
    sample_types: tuple[StrictStr, ...] | None = None


class PathwaysSpec(_Strict):
    """Gene sets: GMT, 0/1 membership (genes x pathways), or one ragged column of symbols per pathway."""

    path: str
    format: Literal["gmt", "membership", "signatures"]


class SplitSetSpec(_Strict):
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


class Description(_Strict):
    """How one cohort's tables are read; a text as `location` holds for the whole cohort."""

    tables: dict[str, TableSpec] = Field(min_length=1)
    patients: str
    id: IdSpec = IdSpec()
    survival: SurvivalSpec | None = None
    class_label: Annotated[FieldSpec, BeforeValidator(_named_column)] | None = None
    tissue_source_site: Annotated[FieldSpec, BeforeValidator(_named_column)] | None = None
    location: Annotated[StrictStr, Field(min_length=1)] | FieldSpec | None = None
    clinical: ClinicalSpec = ClinicalSpec()
    molecular: MolecularSpec = MolecularSpec()
    slides: SlidesSpec | None = None
    pathways: PathwaysSpec | None = None
    splits: dict[str, SplitSetSpec] = {}

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
        fields = [self.class_label, self.tissue_source_site, clinical.age, clinical.sex, clinical.stage, clinical.grade]
        location = self.location if isinstance(self.location, FieldSpec) else None
        for field in [*fields, location, *clinical.named.values()]:
            if field is not None:
                use(field.table, field.column)
        if self.slides is not None:
            pattern = {part[1] for part in string.Formatter().parse(self.slides.path) if part[1]}
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


def canonical(value: object) -> str:
    """Text by which coded values are compared: ``1``, ``1.0`` and ``"1"`` are the same code."""
    text = str(value).strip()
    try:
        number = float(text)
    except ValueError:
        return text
    return str(int(number)) if number.is_integer() else repr(number) if number == number else text


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


def fill(pattern: str, key: str, **values: object) -> str:
    """Fill the placeholders of a path pattern.

    Raises:
        PathomixError: A placeholder is not known.
    """
    try:
        return pattern.format(**values)
    except (KeyError, IndexError, ValueError) as error:
        raise PathomixError(
            f"`{key}`: {pattern!r} has a placeholder that is not known ({error})",
            remedy=f"use one of {sorted(values)}",
        ) from error


def input_paths(description: Description, name: str, root: str | Path) -> dict[str, Path]:
    """Every file the import of cohort `name` reads: path relative to the root (as described) to its place."""
    patterns = [spec.path for spec in description.blocks().values() if spec.path is not None]
    patterns += [description.pathways.path] if description.pathways else []
    result = [fill(pattern, "path", name=name) for pattern in patterns]
    for table in description.tables.values():
        result += table.files(name)
    for split in description.splits.values():
        result += split.paths(name)
    return {path: Path(root) / path for path in sorted(set(result))}
