from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pathomix.text.fields import CLEANERS, Cleaned, clean_fields
from pathomix.text.wording import VOCABULARY

KEPT = {
    "stage": {
        "Stage I": "I", "Stage IA": "I", "Stage IB1": "I", "Stage IIA": "II", "Stage IIIC": "III", "Stage IV": "IV",
        "Stage IVA": "IV", "Stage X": "X", "stage iib": "II", "III": "III", "3": "III", "2A": "II", "Stage 0": "0",
        "Stage 0is": "0", "Stage 0a": "0", "IS": "I", " Stage  II ": "II",
    },
    "t": {
        "T1": "T1", "T1c": "T1", "T1mi": "T1", "T1a1": "T1", "T2a": "T2", "T3b": "T3", "T4d": "T4", "T0": "T0",
        "TX": "TX", "Tis": "Tis", "Tis (DCIS)": "Tis", "Ta": "Ta", "pT2": "T2", "ypT3": "T3", "cT1b(m)": "T1",
        "T2 (2)": "T2", "t2": "T2",
    },
    "n": {
        "N0": "N0", "N0 (i-)": "N0", "N0 (i+)": "N0", "N0(i+)": "N0", "N0 (mol+)": "N0", "N1mi": "N1", "N1a": "N1",
        "N1biv": "N1", "N2": "N2", "N3c": "N3", "NX": "NX", "pN1 (sn)": "N1",
    },
    "m": {"M0": "M0", "cM0 (i+)": "M0", "M1": "M1", "M1a": "M1", "M1c": "M1", "MX": "MX", "pM1": "M1"},
    "diagnosis": {
        "Infiltrating duct carcinoma, NOS": "infiltrating duct carcinoma",
        "Adenocarcinoma,NOS": "adenocarcinoma",
        "Astrocytoma, anaplastic": "astrocytoma, anaplastic",
        "  Renal   cell carcinoma ": "renal cell carcinoma",
        "Adenoma; malignant": "adenoma, malignant",
        "Nosologic carcinoma": "nosologic carcinoma",
    },
    "location": {"Brain": "brain"},
}  # fmt: skip
MISSING = ["", " ", "--", "'--", "NA", "nan", "Not Reported", "not reported", "[Not Available]", "[Unknown]", "unknown"]
DROPPED = {
    "stage": ["Stage V", "I/II NOS", "Stage", "early", "T2", "Stage Tis", "IIIa of V", "1000", "5"],
    "t": ["T5", "T", "T2/T3", "2", "N0", "T1 or T2", "T0N0", "MT1", "T1 (suspected)"],
    "n": ["N+", "N4", "N", "N1/N2", "0", "T1"],
    "m": ["M2", "M", "M0/M1", "yes", "M+"],
    "diagnosis": [", NOS", "8500/3", "?"],
}


@pytest.mark.parametrize(("field", "raw", "value"), [(f, r, v) for f, e in KEPT.items() for r, v in e.items()])
def test_understood_values(field: str, raw: str, value: str) -> None:
    assert CLEANERS[field](raw) == Cleaned(value, "kept")


@pytest.mark.parametrize("raw", MISSING)
@pytest.mark.parametrize("field", CLEANERS)
def test_missing_values(field: str, raw: str) -> None:
    assert CLEANERS[field](raw) == Cleaned(None, "missing")


@pytest.mark.parametrize(("field", "raw"), [(f, r) for f, entries in DROPPED.items() for r in entries])
def test_what_is_not_understood_is_not_guessed(field: str, raw: str) -> None:
    assert CLEANERS[field](raw) == Cleaned(None, "dropped")


@given(st.text(max_size=12), st.sampled_from(sorted(VOCABULARY)))
def test_coded_fields_give_nothing_outside_the_vocabulary(text: str, field: str) -> None:
    result = CLEANERS[field](text)
    assert (result.value in VOCABULARY[field]) == (result.outcome == "kept")
    assert result.value is None or result.outcome == "kept"


@given(st.sampled_from([(f, v) for f, values in VOCABULARY.items() for v in values]))
def test_cleaned_values_stay_as_they_are(entry: tuple[str, str]) -> None:
    field, value = entry
    assert CLEANERS[field](value).value == value


def test_the_table_names_every_value_and_counts_every_patient(patients: pd.DataFrame, caplog) -> None:
    patients.loc["E01", "clinical_t"] = "T2 or T3"
    patients.loc["E02", "time"] = float("nan")
    fields, table = clean_fields(patients)
    counts = table.set_index(["field", "raw"])
    assert counts.loc[("t", "T2 or T3")].tolist() == ["", "dropped", 1]
    assert "'T2 or T3' (1 patients) is not understood" in caplog.text
    assert counts.loc[("n", "N0 (i+)")].tolist() == ["N0", "kept", 1]
    assert counts.loc[("diagnosis", "[Not Available]")].tolist() == ["", "missing", 1]
    assert counts.loc[("vital_status", "1")].tolist() == ["event", "kept", 20]
    assert counts.loc[("vital_status", "event or censoring without a time"), "outcome"] == "dropped"
    assert (table.groupby("field")["patients"].sum() == len(patients)).all()
    assert fields.loc["E01", "t"] is None and pd.isna(fields.loc["E02", "event"]) and fields.loc["P04", "t"] == "Tis"
    assert table["field"].drop_duplicates().tolist()[:3] == ["location", "diagnosis", "stage"]


def test_a_column_that_is_not_there(patients: pd.DataFrame) -> None:
    fields, table = clean_fields(patients.drop(columns=["clinical_m", "clinical_location"]))
    assert fields[["m", "location"]].map(lambda v: v is None).all(axis=None)
    assert set(table.loc[table["outcome"] == "no column", "field"]) == {"m", "location"}
