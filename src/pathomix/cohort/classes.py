"""Class definitions kept as data: which values of which columns make which class (spec modaltune 6.3).

A definition is a YAML file::

    title: Breast, ductal and lobular carcinoma
    source: where the definition comes from
    evidence: which values were checked against what
    columns: [histology]
    strip: [", nos"]          # endings cut off before comparing
    classes:
      IDC: [{histology: [infiltrating duct carcinoma, 8500/3]}]
    ignored: [{histology: [mucinous adenocarcinoma]}]

A rule holds when every column it names has one of its values; the rules of a class are alternatives. Values compare in
lower case with single spaces. A row that no rule matches has no class, and the report names its values.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from pathlib import Path

import pandas as pd
import yaml
from pydantic import Field, StrictStr, ValidationError, model_validator

from pathomix.cohort.import_log import ImportLog
from pathomix.cohort.raw import RawTable, one_value
from pathomix.cohort.specs import ClassLabelSpec, Strict
from pathomix.core.errors import PathomixError

Rule = dict[StrictStr, tuple[StrictStr, ...]]
_SHOWN = 12


class ClassDefinition(Strict):
    """The content of a definition; see the module."""

    title: str
    source: str
    evidence: str
    columns: tuple[StrictStr, ...] = Field(min_length=1)
    strip: tuple[StrictStr, ...] = ()
    classes: dict[StrictStr, tuple[Rule, ...]] = Field(min_length=2)
    ignored: tuple[Rule, ...] = ()

    @model_validator(mode="after")
    def _rules_make_sense(self) -> ClassDefinition:
        for owner, rules in (*self.classes.items(), ("ignored", self.ignored)):
            for rule in rules:
                unknown = sorted(set(rule) - set(self.columns))
                if unknown or not rule:
                    raise ValueError(f"a rule of {owner} names {unknown or 'no column'}, `columns` has {self.columns}")
        for (a, ours), (b, theirs) in itertools.combinations((*self.classes.items(), ("ignored", self.ignored)), 2):
            if any(self._meet(x, y) for x in ours for y in theirs):
                raise ValueError(f"a row can match both {a} and {b}")
        return self

    def _meet(self, one: Rule, other: Rule) -> bool:
        """Whether some row matches both rules."""
        values = [{c: {self.normal(v) for v in rule[c]} for c in rule} for rule in (one, other)]
        return all(values[0][c] & values[1][c] for c in set(one) & set(other))

    def normal(self, text: str) -> str:
        """The form in which values compare."""
        text = re.sub(r"\s+", " ", text).strip().lower()
        for ending in self.strip:
            text = text.removesuffix(ending.lower()).strip()
        return text


def read_class_definition(path: str | Path) -> ClassDefinition:
    """Read and check a definition.

    Raises:
        PathomixError: Not YAML, a key or value that is not understood, or rules of two classes that overlap.
    """
    try:
        return ClassDefinition.model_validate(yaml.safe_load(Path(path).read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError) as error:
        raise PathomixError(f"{path}: cannot be read as YAML ({error})", remedy="correct the definition") from error
    except ValidationError as error:
        raise PathomixError(
            f"{path}: the class definition is not understood",
            offending=[f"`{'.'.join(map(str, e['loc']))}` {e['msg']}" for e in error.errors()],
            remedy="correct these keys; resources/classes/brca.yaml is an example",
        ) from error


def defined_classes(
    definition: ClassDefinition,
    spec: ClassLabelSpec,
    table: RawTable,
    patients: pd.Series,
    ids: pd.Index,
    log: ImportLog,
) -> pd.Series:
    """The class of every patient.

    Args:
        definition: What makes a class.
        spec: Where its columns are.
        table: Table they are in.
        patients: Patient of each row.
        ids: Patients of the cohort.
        log: Receives the count of each class, what was ignored and what the definition does not know.

    Returns:
        Class names indexed by `ids`, None where the patient has none.

    Raises:
        PathomixError: The description gives other columns than the definition has, rows of one patient differ in
            class, or a class has no patient.
    """
    if set(spec.columns) != set(definition.columns):
        raise PathomixError(
            f"{spec.file}: the definition has the columns {list(definition.columns)}, "
            f"`class_label.columns` names {sorted(spec.columns)}",
            remedy="name the column of the table for each of them",
        )
    values = pd.DataFrame({c: table.text(spec.columns[c]) for c in definition.columns}).astype(object)
    distinct = {tuple(row) for row in values.itertuples(index=False, name=None)}
    known = {row: _decide(definition, dict(zip(definition.columns, row, strict=True))) for row in distinct}
    found = pd.Series([known[row] for row in values.itertuples(index=False, name=None)], dtype=object)
    labels = found.map(lambda name: name if name in definition.classes else None).astype(object)
    result = one_value(labels, patients, table, f"class ({spec.file})").reindex(ids).astype(object)
    inside = patients.isin(ids)
    shown = pd.Series([_shown(row) for row in values.itertuples(index=False, name=None)], dtype=object)
    counts = {name: int((result == name).sum()) for name in definition.classes}
    others = {kind: _counted(shown[inside & (found == kind)]) for kind in ("ignored", "unseen")}
    log.step(
        "classes", str(spec.file), title=definition.title, source=definition.source, classes=counts,
        ignored_values=others["ignored"], unseen_values=others["unseen"], without_value=int(found[inside].isna().sum()),
    )  # fmt: skip
    absent = [name for name, count in counts.items() if not count]
    if absent:
        raise PathomixError(
            f"{table.label}: classes of {spec.file} match no patient ({', '.join(absent)})",
            offending=[f"{value} ({count})" for value, count in _counted(shown[inside]).items()],
            remedy="these are the values seen: name the right column in `class_label.columns`, or add the value to the "
            "definition",
        )
    if others["unseen"]:
        listed = [f"{value} ({count})" for value, count in others["unseen"].items()]
        more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
        log.warn(
            f"{table.label}: {spec.file} does not know {', '.join(listed[:_SHOWN])}{more}; these rows give no class"
        )
    return result


def _decide(definition: ClassDefinition, row: dict[str, str | None]) -> str | None:
    """A class, ``ignored``, ``unseen``, or None where no rule matches and a value is missing."""
    normal = {column: definition.normal(text) for column, text in row.items() if text is not None}
    for name, rules in (*definition.classes.items(), ("ignored", definition.ignored)):
        for rule in rules:
            if all(normal.get(c) in {definition.normal(v) for v in wanted} for c, wanted in rule.items()):
                return name
    return "unseen" if len(normal) == len(row) else None


def _shown(row: tuple[str | None, ...]) -> str:
    return " / ".join("missing" if text is None else text for text in row)


def _counted(shown: pd.Series) -> dict[str, int]:
    """Values and how many rows have them, most frequent first."""
    return dict(sorted(Counter(shown).items(), key=lambda item: (-item[1], item[0])))
