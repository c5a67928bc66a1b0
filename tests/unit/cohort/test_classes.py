from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import yaml

from pathomix.cohort.classes import defined_classes, read_class_definition
from pathomix.cohort.import_log import ImportLog
from pathomix.cohort.raw import read_raw
from pathomix.cohort.specs import ClassLabelSpec
from pathomix.core.errors import PathomixError

DEFINITION = {
    "title": "t", "source": "s", "evidence": "e", "columns": ["project", "histology"], "strip": [", NOS"],
    "classes": {
        "colon": [{"project": ["COAD"], "histology": ["Adenocarcinoma", "8140/3"]}],
        "rectum": [{"project": ["READ"], "histology": ["adenocarcinoma", "8140/3"]}],
    },
    "ignored": [{"histology": ["mucinous adenocarcinoma"]}],
}  # fmt: skip
SPEC = ClassLabelSpec(file="c.yaml", columns={"project": "study", "histology": "dx"})
ROWS = [
    ("P1", "COAD", "Adenocarcinoma, NOS"), ("P1", "COAD", ""), ("P2", "READ", " 8140/3"), ("P3", "COAD", "Mucinous  "
    "adenocarcinoma"), ("P4", "READ", "Sarcoma"), ("P5", "COAD", ""), ("P6", "READ", "ADENOCARCINOMA"),
]  # fmt: skip


def labelled(tmp_path: Path, rows: list[tuple[str, str, str]], **changes: object) -> tuple[pd.Series, ImportLog]:
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(DEFINITION | changes))
    (tmp_path / "t.tsv").write_text("id\tstudy\tdx\n" + "".join("\t".join(row) + "\n" for row in rows))
    table, log = read_raw(tmp_path / "t.tsv", "t.tsv"), ImportLog()
    patients = table.verbatim("id")
    ids = pd.Index(sorted(patients.unique()))
    return defined_classes(read_class_definition(tmp_path / "c.yaml"), SPEC, table, patients, ids, log), log


def test_rules_give_classes_and_the_rest_is_reported(tmp_path: Path) -> None:
    found, log = labelled(tmp_path, ROWS)
    assert found.dropna().to_dict() == {"P1": "colon", "P2": "rectum", "P6": "rectum"}
    step = log.steps[-1]
    assert step["classes"] == {"colon": 1, "rectum": 2} and step["without_value"] == 2
    assert step["ignored_values"] == {"COAD / Mucinous  adenocarcinoma": 1}
    assert step["unseen_values"] == {"READ / Sarcoma": 1} and "Sarcoma" in log.warnings[0]


def test_a_class_nobody_has_is_an_error_with_the_values_seen(tmp_path: Path) -> None:
    with pytest.raises(PathomixError, match=r"match no patient \(rectum\): COAD / missing \(2\), COAD / Adenoc"):
        labelled(tmp_path, [row for row in ROWS if row[1] == "COAD"])


def test_rows_of_one_patient_in_two_classes(tmp_path: Path) -> None:
    with pytest.raises(PathomixError, match=r"contradict each other in class \(c.yaml\): P1 \(colon / rectum\)"):
        labelled(tmp_path, [*ROWS, ("P1", "READ", "Adenocarcinoma")])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ignored": [{"histology": ["Adenocarcinoma, nos"]}]}, "can match both colon and ignored"),
        ({"classes": {"a": [{"histology": ["x"]}], "b": [{"project": ["y"]}]}}, "can match both a and b"),
        ({"classes": {"a": [{"histology": ["x"]}], "b": [{"grade": ["y"]}]}}, r"names \['grade'\]"),
        ({"classes": {"a": [{"histology": ["x"]}]}}, "classes"),
        ({"clases": {}}, "clases"),
        ({"columns": ["histology"]}, r"names \['project'\]"),
    ],
)
def test_definitions_that_make_no_sense(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(PathomixError, match=message):
        labelled(tmp_path, ROWS, **changes)


def test_columns_of_the_description_and_of_the_definition(tmp_path: Path) -> None:
    only = {"a": [{"histology": ["8140/3"]}], "b": [{"histology": ["sarcoma"]}]}
    with pytest.raises(PathomixError, match=r"has the columns \['histology'\], `class_label.columns` names"):
        labelled(tmp_path, ROWS, columns=["histology"], classes=only)


def test_shipped_definitions_are_valid_and_say_where_they_come_from(root: Path) -> None:
    shipped = sorted((root / "resources/classes").glob("*.yaml"))
    assert {path.stem for path in shipped} >= {"brca", "gbmlgg", "nsclc", "rcc", "coadread", "blca", "ucec"}
    for path in shipped:
        definition = read_class_definition(path)
        assert "6.3" in definition.source and definition.evidence, path
