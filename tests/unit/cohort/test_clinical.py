from __future__ import annotations

import numpy as np
import pytest

from pathomix.cohort.loader import load_cases
from pathomix.core.errors import PathomixError


def test_third_event_value_names_patient_and_remedy(study):
    study.clinical.loc[3, "status"] = "Not Reported"
    with pytest.raises(PathomixError, match=r"'Not Reported'.*TEST-05-0004.*`missing`"):
        study.build()


@pytest.mark.parametrize("value", ["0", "-5"])
def test_non_positive_time(study, edit, value):
    study.clinical.loc[2, "death"] = value
    with pytest.raises(PathomixError, match=r"zero or negative: TEST-02-0003.*non_positive: quarantine"):
        study.build()
    edit("survival.non_positive", "quarantine")
    row = study.quarantine().iloc[0]
    assert row["patient_id"] == "TEST-02-0003" and row["file"] == "toy/clinical.tsv"
    cases = load_cases(study.folder / "out")
    assert len(cases.patients) == 8 and np.isnan(cases.patients.loc["TEST-02-0003", "time"])
    assert len(cases.with_survival().patients) == 7 and cases.patients.loc["TEST-02-0003", "class_label"] == "a"


def test_half_an_outcome_is_quarantined_the_patient_stays(study):
    study.clinical.loc[0, "death"] = ""  # dead, no date
    study.clinical.loc[1, "status"] = ""  # a date, no status: no outcome column applies, nothing is half known
    table = study.quarantine()
    assert table["patient_id"].tolist() == ["TEST-02-0001"] and "event without a time" in table["reason"][0]
    assert len(load_cases(study.folder / "out").with_survival().ids) == 6


@pytest.mark.parametrize(
    ("column", "value", "fact"),
    [("death", "40", "time of OS"), ("status", "Alive", "event of OS"), ("diagnosis", "b", "class_label"),
     ("age", "51", "age")],
)  # fmt: skip
def test_contradicting_duplicate_names_the_patient(study, column, value, fact):
    study.clinical.loc[8] = study.clinical.loc[0]
    study.clinical.loc[8, column] = value
    with pytest.raises(PathomixError, match=rf"contradict each other in {fact}.*TEST-02-0001"):
        study.build()


def test_agreeing_and_incomplete_duplicates_are_merged(study):
    study.clinical.loc[8] = study.clinical.loc[0]
    study.clinical.loc[8, "age"] = ""
    patients = load_cases(study.build()).patients
    assert len(patients) == 8 and patients.loc["TEST-02-0001", "age"] == 50


def test_site_column_that_lost_its_zeros(study, edit):
    study.clinical["tss"] = [p[5:7].lstrip("0") for p in study.clinical["barcode"]]
    edit("tissue_source_site", "tss")
    with pytest.raises(PathomixError, match=r"2 against 02.*remove `tissue_source_site`"):
        study.build()


def test_verbatim_ids_need_no_barcode(study, edit):
    study.clinical["tss"] = "hospital"
    for table, column in ((study.clinical, "barcode"), (study.slides, "case"), (study.folds, "id")):
        table[column] = table[column].str[-4:]
    study.expression.columns = [c[8:12] for c in study.expression.columns]
    study.mutation.index = [c[8:12] for c in study.mutation.index]
    edit("id", {"kind": "verbatim"})
    edit("tissue_source_site", "tss")
    for kind in ("expression", "mutation"):
        study.description["molecular"][kind].pop("sample_types")
    patients = load_cases(study.build()).patients
    assert patients.index[0] == "0001" and set(patients["tissue_source_site"]) == {"hospital"}


def test_uuid_instead_of_barcode(study):
    study.clinical.loc[0, "barcode"] = "0078b0c4-68a9-483b-9aab-61156d263213"
    with pytest.raises(PathomixError, match=r"clinical.tsv, column 'barcode'.*0078b0c4.*verbatim"):
        study.build()


def test_value_outside_a_map(study, edit):
    edit("class_label", {"column": "diagnosis", "map": {"a": "A"}, "ignore": ["other"]})
    with pytest.raises(PathomixError, match=r"\['b'\], not in its map.*`ignore`"):
        study.build()


def test_age_in_days(study, edit):
    study.clinical["age"] = "18262.5"
    with pytest.raises(PathomixError, match=r"unit: days"):
        study.build()
    edit("clinical.age", {"column": "age", "unit": "days"})
    assert load_cases(study.build()).patients["age"].to_numpy() == pytest.approx(50.0)


def test_text_in_a_number_column(study):
    study.clinical.loc[0, "death"] = "unknown"
    with pytest.raises(PathomixError, match=r"'death' holds 'unknown'.*TEST-02-0001.*`missing`"):
        study.build()


def test_further_columns_and_codes_as_numbers(study, edit):
    study.clinical["grade"] = ["1", "2.0", "3", "", "1", "1", "2", "2"]
    study.clinical["psa"] = "1.5"
    edit("clinical.grade", {"column": "grade", "map": {1: "low", 2: "middle", 3: "high"}})
    edit("clinical.extra", {"psa": {"column": "psa", "kind": "number"}})
    patients = load_cases(study.build()).patients
    assert patients["grade"].tolist()[:3] == ["low", "middle", "high"] and patients["grade"].isna().sum() == 1
    assert set(patients["clinical_psa"]) == {1.5}


def test_excluded_rows_are_counted_with_their_reason(study, edit):
    study.clinical.loc[8] = study.clinical.loc[0]
    study.clinical.loc[8, "barcode"] = "P-0000674"
    rule = {"column": "barcode", "not_matching": "^TEST-", "reason": "another project"}
    edit("tables.clinical.exclude", [rule])
    step = study.report()["steps"][0]
    assert step["excluded"] == {"another project": 1} and step["rows_in"] == 9 and step["rows_kept"] == 8


def test_cohort_without_event_warns(study):
    study.clinical["status"], study.clinical["follow_up"] = "Alive", "100"
    assert any("no patient has the event" in text for text in study.report()["warnings"])


def test_fields_of_the_label_texts(study, edit):
    study.clinical["t"] = ["T1c", "TX", "", "Tis (DCIS)", "T2", "T2", "T3", "T4"]
    study.clinical["organ"] = ["colon", "rectum", "colon", "", "colon", "colon", "rectum", "unknown"]
    edit("clinical.t", "t")
    edit("clinical.diagnosis", "diagnosis")
    edit("location", "Brain")
    patients = load_cases(study.build()).patients
    assert set(patients["clinical_location"]) == {"Brain"} and "clinical_n" not in patients
    assert patients["clinical_t"].tolist()[:4] == ["T1c", "TX", None, "Tis (DCIS)"]
    assert patients["clinical_diagnosis"].eq("other").any() and patients["class_label"].isna().any()
    edit("location", {"column": "organ", "map": {"colon": "colorectal", "rectum": "colorectal"}, "ignore": ["unknown"]})
    patients = load_cases(study.build()).patients
    assert set(patients["clinical_location"].dropna()) == {"colorectal"}
    assert patients["clinical_location"].isna().sum() == 2


@pytest.mark.parametrize(
    ("path", "value", "fact"),
    [
        ("location", {"colum": "organ"}, r"`location\.FieldSpec\.colum` is an unknown key \(did you mean `column`"),
        ("location", "", "at least 1 character"),
        ("location", {"column": "organ"}, "organ"),
        ("clinical.extra", {"t": "t"}, "have keys of their own"),
        ("clinical.m", "absent", "absent"),
    ],
)
def test_fields_of_the_label_texts_that_cannot_be(study, edit, path, value, fact):
    edit(path, value)
    with pytest.raises(PathomixError, match=fact):
        study.build()
