"""Outcome, class, site and clinical fields: from coded columns to the PATIENTS contract."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from pathomix.cohort.classes import ClassDefinition, defined_classes
from pathomix.cohort.description import Description
from pathomix.cohort.import_log import ImportLog
from pathomix.cohort.raw import RawTable, one_value
from pathomix.cohort.specs import AgeSpec, EndpointSpec, ExtraSpec, FieldSpec, canonical
from pathomix.core.barcodes import tissue_source_site
from pathomix.core.errors import PathomixError

DAYS_PER_MONTH = 30.4375
_OLDEST = 120.0


@dataclass(frozen=True)
class Keyed:
    """A table and the patient of each of its rows."""

    table: RawTable
    patients: pd.Series


def patients_table(
    description: Description,
    tables: Mapping[str, Keyed],
    endpoint: str | None,
    log: ImportLog,
    classes: ClassDefinition | None = None,
) -> pd.DataFrame:
    """PATIENTS columns for every patient of the base table, sorted by id.

    Args:
        description: What to read where.
        tables: The named tables.
        endpoint: Endpoint to use; None takes the description's default.
        log: Receives counts and quarantined values.
        classes: The class definition, where the description names one.

    Raises:
        PathomixError: A value is outside its coding, a time is not positive, rows of a patient contradict each other.
    """
    base = tables[description.patients]
    ids = pd.Index(sorted(base.patients.unique()), name="patient_id")
    if not len(ids):
        raise PathomixError(f"{base.table.label}: no patient is left", remedy="check `id` and the `exclude` rules")
    for name, keyed in tables.items():
        if name != description.patients:
            others = sorted(set(keyed.patients) - set(ids))
            log.quarantine(others, keyed.table.label, f"patient is not in {base.table.label}")
    result = pd.DataFrame(index=ids)
    result["time"], result["event"], result["endpoint"] = _outcome(description, tables, endpoint, ids, log)
    clinical, label = description.clinical, description.class_label
    fields: dict[str, FieldSpec | AgeSpec | None] = {
        "class_label": label.field if label else None, "age": clinical.age, "sex": clinical.sex,
        "stage": clinical.stage, "grade": clinical.grade,
        **{f"clinical_{name}": spec for name, spec in clinical.named.items()},
    }  # fmt: skip
    location = description.location
    if isinstance(location, FieldSpec):
        fields["clinical_location"] = location
    for name, spec in fields.items():
        result[name] = None
        if spec is not None:
            keyed = tables[spec.table or description.patients]
            values = _age(keyed, spec) if isinstance(spec, AgeSpec) else _field(keyed, spec, name)
            merged = one_value(values, keyed.patients, keyed.table, f"{name} (column {spec.column!r})").reindex(ids)
            result[name] = merged
            log.step("field", keyed.table.label, field=name, known=int(merged.notna().sum()), patients=len(ids))
    if classes is not None and label is not None:
        keyed = tables[label.table or description.patients]
        result["class_label"] = defined_classes(classes, label, keyed.table, keyed.patients, ids, log)
    if isinstance(location, str):
        result["clinical_location"] = location
    result["tissue_source_site"] = _site(description, tables, ids)
    return result.reset_index()


def _outcome(
    description: Description, tables: Mapping[str, Keyed], chosen: str | None, ids: pd.Index, log: ImportLog
) -> tuple[pd.Series, pd.Series, str]:
    survival = description.survival
    if survival is None:
        if chosen is not None:
            raise PathomixError(
                f"endpoint {chosen} was asked for, but the description has no `survival`", remedy="add `survival`"
            )
        return pd.Series(index=ids, dtype="float64"), pd.Series(index=ids, dtype="Int8"), "none"
    name = chosen or survival.default_endpoint
    if name not in survival.endpoints:
        raise PathomixError(
            f"there is no endpoint {name!r}", remedy=f"choose one of {', '.join(sorted(survival.endpoints))}"
        )
    spec = survival.endpoints[name]
    keyed = tables[spec.table or description.patients]
    label = keyed.table.label
    event = one_value(_event(keyed, spec), keyed.patients, keyed.table, f"event of {name}")
    days = one_value(_days(keyed, spec), keyed.patients, keyed.table, f"time of {name}")
    event, days = event.reindex(ids).astype("Int8"), days.reindex(ids).astype("float64")
    # Half an outcome is no outcome; the patient stays, for the other tasks.
    half = event.isna() != days.isna()
    log.quarantine(ids[half & event.notna()], label, f"{name}: event without a time, outcome left empty")
    log.quarantine(ids[half & days.notna()], label, f"{name}: time without an event, outcome left empty")
    late = (days <= 0) & ~half
    if late.any() and survival.non_positive == "error":
        raise PathomixError(
            f"{label}: {name} time is zero or negative",
            offending=[f"{patient} ({days[patient]:g} days)" for patient in ids[late]],
            remedy="correct the times, or set `survival.non_positive: quarantine` to leave these outcomes empty",
        )
    log.quarantine(ids[late], label, f"{name}: time is zero or negative, outcome left empty")
    event, days = event.mask(half | late), days.mask(half | late)
    log.step(
        "outcome", label, endpoint=name, patients=len(ids), known=int(event.notna().sum()),
        events=int(event.sum()), half_known=int(half.sum()), non_positive=int(late.sum()),
    )  # fmt: skip
    if event.notna().any() and not event.sum():
        log.warn(f"{label}: no patient has the event of {name}; survival cannot be learnt from this cohort")
    return days / DAYS_PER_MONTH, event, name


def _event(keyed: Keyed, spec: EndpointSpec) -> pd.Series:
    text = keyed.table.text(spec.event.column)
    codes = {canonical(v): 1 for v in spec.event.event_values} | {canonical(v): 0 for v in spec.event.censored_values}
    values = text.map(lambda t: None if t is None else codes.get(canonical(t), -1)).astype("Int8")
    bad = values.eq(-1).fillna(False)
    if bad.any():
        raise PathomixError(
            f"{keyed.table.label}: column {spec.event.column!r} holds {text[bad].iloc[0]!r}, "
            "which is in neither `event_values` nor `censored_values`",
            offending=keyed.patients[bad].unique(),
            remedy="add the value to one of the two lists, or to the table's `missing` list",
        )
    return values


def _days(keyed: Keyed, spec: EndpointSpec) -> pd.Series:
    time = spec.time
    if time.column is not None:
        values = keyed.table.numbers(time.column, keyed.patients)
    else:
        assert time.event_column is not None and time.censored_column is not None
        happened = _event(keyed, spec)
        died = keyed.table.numbers(time.event_column, keyed.patients)
        seen = keyed.table.numbers(time.censored_column, keyed.patients)
        values = died.where(happened.eq(1).fillna(False).astype(bool), seen).where(happened.notna().astype(bool))
    return values * (time.days_per_month or 1.0)


def _age(keyed: Keyed, spec: AgeSpec) -> pd.Series:
    values = keyed.table.numbers(spec.column, keyed.patients)
    values = values / (12 * DAYS_PER_MONTH) if spec.unit == "days" else values
    bad = (values < 0) | (values > _OLDEST)
    if bad.any():
        raise PathomixError(
            f"{keyed.table.label}: column {spec.column!r} gives ages outside 0-{_OLDEST:g} years",
            offending=keyed.patients[bad].unique(),
            remedy="set `unit: days` if the column holds days, or correct the values",
        )
    return values


def _field(keyed: Keyed, spec: FieldSpec, name: str) -> pd.Series:
    if isinstance(spec, ExtraSpec) and spec.kind == "number":
        return keyed.table.numbers(spec.column, keyed.patients)
    codes = keyed.table.text(spec.column).map(lambda t: None if t is None else canonical(t)).astype(object)
    ignored = {canonical(v) for v in spec.ignore}
    codes = codes.map(lambda t: None if t in ignored else t).astype(object)
    if name == "sex" and spec.map is None:
        codes = codes.map(lambda t: None if t is None else t.lower())
    allowed = {canonical(k): v for k, v in spec.map.items()} if spec.map is not None else None
    if allowed is None and name == "sex":
        allowed = {"female": "female", "male": "male"}
    if allowed is None:
        return codes
    bad = codes.notna() & ~codes.isin(list(allowed))
    if bad.any():
        raise PathomixError(
            f"{keyed.table.label}: column {spec.column!r} ({name}) holds {sorted(codes[bad].unique())}, not in its map",
            offending=keyed.patients[bad].unique(),
            remedy="add the value to the field's `map`, or to its `ignore` list",
        )
    return codes.map(lambda t: None if t is None else allowed[t]).astype(object)


def _site(description: Description, tables: Mapping[str, Keyed], ids: pd.Index) -> pd.Series:
    """Tissue source site: of the barcode, because tables lose its zeros (``02`` becomes ``2``)."""
    spec, barcodes = description.tissue_source_site, description.id.kind == "tcga_barcode"
    own = pd.Series([tissue_source_site(i) if barcodes else None for i in ids], index=ids, dtype=object)
    if spec is None:
        return own
    keyed = tables[spec.table or description.patients]
    text = keyed.table.text(spec.column)
    if spec.map is not None:
        text = _field(keyed, spec, "tissue_source_site")
    given = one_value(text, keyed.patients, keyed.table, f"tissue source site (column {spec.column!r})").reindex(ids)
    differ = given.notna() & (given != own)
    if barcodes and spec.map is None and differ.any():
        raise PathomixError(
            f"{keyed.table.label}: column {spec.column!r} disagrees with the site in the barcode",
            offending=[f"{i} ({given[i]} against {own[i]})" for i in ids[differ]],
            remedy="remove `tissue_source_site` from the description: the site is then taken from the barcode",
        )
    return given
