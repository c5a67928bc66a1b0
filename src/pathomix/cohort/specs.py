"""The pieces of a description: tables, fields, endpoints, clinical columns. Light imports only."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictFloat,
    StrictInt,
    StrictStr,
    model_validator,
)

from pathomix.core.errors import PathomixError

# Booleans are refused on purpose: YAML reads an unquoted `no` as false.
Scalar = StrictStr | StrictInt | StrictFloat

MISSING = ("", "NA", "N/A", "NaN", "nan", "null", "None", "--", "'--", "[Not Available]", "[Not Applicable]")


NORMAL_TYPES = tuple(str(code) for code in range(10, 20))
"""TCGA sample types of normal tissue."""

Format = Literal["csv", "tsv", "parquet", "json"]
"""Kind of a file whose name does not say it."""


class Strict(BaseModel):
    """A mapping of a description; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _no_normal_tissue(types: tuple[str, ...] | None) -> tuple[str, ...] | None:
    normal = sorted({*(types or ())} & {*NORMAL_TYPES})
    if normal:
        raise ValueError(f"{normal} are sample types of normal tissue, which never stands in for a tumour")
    return types


SampleTypes = Annotated[tuple[StrictStr, ...] | None, AfterValidator(_no_normal_tissue)]


def named_column(value: Any) -> Any:
    """A text stands for the column of that name."""
    return {"column": value} if isinstance(value, str) else value


class Exclude(Strict):
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


class TableSpec(Strict):
    """A file with one row per patient or per slide.

    Attributes:
        path: csv, tsv or txt (tab), each also as .gz or .zip; parquet; json (records, also .gz).
        parts: For a table that lies in several files: what fills `{part}` in the path, in order.
        part_column: Name of a column to add to a table in several files; it holds the part of each row.
        format: For a path whose ending does not say it.
        id: Column with the patient.
        sample_types: TCGA sample types whose rows are used; required where the ids carry one of normal tissue.
        optional: Columns that a file of the table may lack (their values are then missing); any other one that is read
            has to be in every file. Without the key, files of a table in several may lack any, with a warning.
        records: For JSON, the key under which the list of records lies.
        missing: Texts that mean "not known".
        exclude: Rows left out on purpose.
    """

    path: str
    id: str
    parts: tuple[str, ...] = ()
    part_column: str | None = None
    format: Format | None = None
    sample_types: SampleTypes = None
    optional: tuple[str, ...] | None = None
    records: str | None = None
    missing: tuple[str, ...] = MISSING
    exclude: tuple[Exclude, ...] = ()

    @model_validator(mode="after")
    def _parts_fill_the_path(self) -> TableSpec:
        if bool(self.parts) != ("{part}" in self.path):
            raise ValueError("`parts` and `{part}` in `path` go together")
        if self.part_column is not None and not self.parts:
            raise ValueError("`part_column` needs `parts`")
        return self

    def files(self, name: str) -> dict[str, str]:
        """Paths of the table's files for cohort `name`, by part (one empty part where the table is one file)."""
        return {part: fill(self.path, "tables.path", name=name, part=part) for part in self.parts or ("",)}


class IdSpec(Strict):
    """`tcga_barcode`: cut to the 12-character patient barcode. `verbatim`: taken as it stands."""

    kind: Literal["tcga_barcode", "verbatim"] = "tcga_barcode"


class FieldSpec(Strict):
    """A column with text values. With a `map`, a value outside the map and `ignore` is an error; ignored = missing."""

    column: str
    table: str | None = None
    map: dict[Scalar, StrictStr] | None = None
    ignore: tuple[Scalar, ...] = ()


class ClassLabelSpec(Strict):
    """The class of a patient: a column, or a definition kept as data.

    Attributes:
        column: As in a field, with `map` and `ignore`.
        file: A class definition (see `classes.py`) instead, relative to the repository.
        columns: Column of the definition to column of the table.
        table: Table of the column or columns.
    """

    column: str | None = None
    file: str | None = None
    columns: dict[str, str] = {}
    table: str | None = None
    map: dict[Scalar, StrictStr] | None = None
    ignore: tuple[Scalar, ...] = ()

    @model_validator(mode="after")
    def _one_form(self) -> ClassLabelSpec:
        if (self.column is None) == (self.file is None):
            raise ValueError("give either `column` or `file`")
        if self.file is not None and not self.columns:
            raise ValueError("a `file` needs `columns`: which column of the table is which of the definition")
        if self.file is not None and (self.map is not None or self.ignore):
            raise ValueError("`map` and `ignore` belong to `column`; a `file` has its own")
        if self.column is not None and self.columns:
            raise ValueError("`columns` belongs to `file`")
        return self

    @property
    def field(self) -> FieldSpec | None:
        """The column as a field, None where a definition is used."""
        if self.column is None:
            return None
        return FieldSpec(column=self.column, table=self.table, map=self.map, ignore=self.ignore)


class AgeSpec(Strict):
    """Age at diagnosis."""

    column: str
    table: str | None = None
    unit: Literal["years", "days"] = "years"


class ExtraSpec(FieldSpec):
    """A further clinical column, written as `clinical_<name>`."""

    kind: Literal["category", "number"] = "category"


class TimeSpec(Strict):
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


class EventSpec(Strict):
    """Event coding. A value in neither list (and not missing) is an error."""

    column: str
    event_values: tuple[Scalar, ...] = Field(min_length=1)
    censored_values: tuple[Scalar, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _disjoint(self) -> EventSpec:
        if {canonical(v) for v in self.event_values} & {canonical(v) for v in self.censored_values}:
            raise ValueError("a value is in both `event_values` and `censored_values`")
        return self


class EndpointSpec(Strict):
    """One survival endpoint (OS, DSS, PFI, ...)."""

    table: str | None = None
    time: TimeSpec
    event: EventSpec


class RecommendedSpec(Strict):
    """Which projects' recommendation is asked for, and the file (relative to the repository) that holds them."""

    file: str
    projects: tuple[StrictStr, ...] = Field(min_length=1)


RECOMMENDED = "recommended"


class SurvivalSpec(Strict):
    """Endpoints; `non_positive` says what a time of zero days or less does.

    `default_endpoint: recommended` takes the endpoint that the file of `recommended` names for the projects.
    """

    default_endpoint: str
    recommended: RecommendedSpec | None = None
    non_positive: Literal["error", "quarantine"] = "error"
    endpoints: dict[str, EndpointSpec] = Field(min_length=1)

    @model_validator(mode="after")
    def _default_exists(self) -> SurvivalSpec:
        if (self.default_endpoint == RECOMMENDED) != (self.recommended is not None):
            raise ValueError("`default_endpoint: recommended` and the key `recommended` go together")
        if self.default_endpoint not in {*self.endpoints, RECOMMENDED}:
            raise ValueError(f"`default_endpoint` must be one of {sorted(self.endpoints)}")
        return self


class ClinicalSpec(Strict):
    """Clinical columns with a fixed meaning, and further ones.

    `t`, `n`, `m` (AJCC categories) and `diagnosis` keep the registry's own words; the label texts clean them.
    """

    age: Annotated[AgeSpec, BeforeValidator(named_column)] | None = None
    sex: Annotated[FieldSpec, BeforeValidator(named_column)] | None = None
    stage: Annotated[FieldSpec, BeforeValidator(named_column)] | None = None
    grade: Annotated[FieldSpec, BeforeValidator(named_column)] | None = None
    t: Annotated[FieldSpec, BeforeValidator(named_column)] | None = None
    n: Annotated[FieldSpec, BeforeValidator(named_column)] | None = None
    m: Annotated[FieldSpec, BeforeValidator(named_column)] | None = None
    diagnosis: Annotated[FieldSpec, BeforeValidator(named_column)] | None = None
    extra: dict[str, Annotated[ExtraSpec, BeforeValidator(named_column)]] = {}

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


def canonical(value: object) -> str:
    """Text by which coded values are compared: ``1``, ``1.0`` and ``"1"`` are the same code."""
    text = str(value).strip()
    try:
        number = float(text)
    except ValueError:
        return text
    return str(int(number)) if number.is_integer() else repr(number) if number == number else text


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
