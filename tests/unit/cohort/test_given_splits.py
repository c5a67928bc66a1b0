from __future__ import annotations

import json
import re

import pandas as pd
import pytest

from pathomix.cohort.given_splits import GIVEN_SPLITS
from pathomix.core.errors import PathomixError
from pathomix.core.schemas import PATIENTS
from pathomix.core.tables import read_table


def given(study):
    return read_table(study.build() / "given_splits.parquet", GIVEN_SPLITS)


def write_fold_files(study, train, val):
    raw = study.folder / "raw" / "toy"
    raw.mkdir(parents=True)
    for fold in (0, 1):
        columns = {"train": pd.Series(train), "val": pd.Series(val)}
        pd.DataFrame(columns).to_csv(raw / f"splits_{fold}.csv")
    study.description["splits"] = {
        "cv": {"path": "toy/splits_{fold}.csv", "folds": [0, 1], "parts": {"train": "train", "val": "test"}}
    }


def test_one_column_per_fold(study):
    table = given(study)
    assert len(table) == 16 and set(table["set"]) == {"mc"}
    parts = table[table["fold"] == 1].set_index("patient_id")["part"]
    assert parts["TEST-02-0001"] == "test" and (parts == "train").sum() == 7


def test_one_file_per_fold_with_ragged_columns(study):
    ids = study.clinical["barcode"].tolist()
    write_fold_files(study, ids[:6], ids[6:])
    table = given(study)
    assert len(table) == 16
    assert set(table.loc[table["part"] == "test", "patient_id"]) == set(ids[6:])


def test_patient_in_two_parts_is_leakage(study):
    ids = study.clinical["barcode"].tolist()
    write_fold_files(study, ids[:7], ids[6:])
    with pytest.raises(PathomixError, match=r"two parts of one fold: TEST-A1-0007 \(test and train of fold 0\)"):
        study.build()


def test_slides_of_one_patient_on_both_sides_are_leakage(study):
    patient = study.clinical["barcode"][0]
    write_fold_files(study, [f"{patient}-01Z-00-DX1"], [f"{patient}-01Z-00-DX2"])
    with pytest.raises(PathomixError, match="two parts of one fold"):
        study.build()


def test_patients_without_data_are_reported(study):
    study.folds.loc[8] = ["TEST-A1-0099", "Train", "Test"]
    assert "TEST-A1-0099" in study.quarantine()["patient_id"].tolist()
    step = next(s for s in study.report()["steps"] if s["step"] == "splits")
    assert step["patients_without_data"] == 1 and step["cohort_patients_not_in_set"] == 0
    assert "TEST-A1-0099" not in set(given(study)["patient_id"])


def test_unknown_part_and_empty_part(study):
    study.folds.loc[0, "f1"] = "Valid"
    with pytest.raises(PathomixError, match=r"'f1' holds 'Valid'.*`splits.<set>.values`"):
        study.build()
    study.folds["f1"] = "Train"
    with pytest.raises(PathomixError, match="fold 0 of split set mc has no cohort patient"):
        study.build()


def test_a_table_in_several_files_and_one_file_per_part(study):
    whole = study.report()["counts"]
    study.write()
    raw = study.folder / "raw" / "toy"
    rows = {"a": study.clinical.iloc[:6], "b": study.clinical.iloc[6:].drop(columns="sex").assign(extra="x")}
    for name, part in rows.items():
        part.to_csv(raw / f"part_{name}.csv", index=False)
    study.description["tables"]["clinical"] = {
        "path": "{name}/part_{part}.csv", "parts": ["a", "b"], "id": "barcode",
    }  # fmt: skip
    study.description["splits"] = {
        "parts": {"path": "{name}/part_{part}.csv", "files": {"a": "train", "b": "test"}, "id": "barcode"}
    }
    out = study.build("parts")
    assert json.loads((out / "report.json").read_text())["counts"] == whole
    patients = read_table(out / "patients.parquet", PATIENTS).set_index("patient_id")
    assert patients["sex"].notna().sum() == 6, "a column that a file lacks is missing in its rows"
    given = read_table(out / "given_splits.parquet", GIVEN_SPLITS)
    assert given["part"].tolist() == ["train"] * 6 + ["test"] * 2 and set(given["fold"]) == {0}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("tables.clinical.parts", ["a"], "`parts` and `{part}` in `path` go together"),
        ("splits.mc", {"path": "x.csv", "files": {"a": "train"}, "id": "i"}, "`files` needs `{part}` in `path`"),
        ("splits.mc", {"path": "{part}.csv", "files": {"a": "train"}}, "give `values`, or both"),
    ],
)
def test_parts_that_do_not_fit_the_path(edit, key, value, message):
    with pytest.raises(PathomixError, match=re.escape(message)):
        edit(key, value).build()
