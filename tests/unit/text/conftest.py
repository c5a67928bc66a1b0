"""A small cohort with every kind of field, and the shipped wording."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pathomix.core.schemas import PATIENTS
from pathomix.text.wording import Wording, read_wording


@pytest.fixture(scope="session")
def wording_path(root: Path) -> Path:
    return root / "resources" / "prompts.yaml"


@pytest.fixture(scope="session")
def wording(wording_path: Path) -> Wording:
    return read_wording(wording_path)


@pytest.fixture
def patients() -> pd.DataFrame:
    """PATIENTS rows: three known by hand, then twenty events at 3, 6, ... 60 months and four censored."""
    rows = [
        # id, time, event, stage, t, n, m, diagnosis
        ("P01", 15.0, 1, "Stage IIA", "T2", "N1a", "M0", "Infiltrating duct carcinoma, NOS"),
        ("P02", 40.0, 0, "Stage X", "TX", "NX", "MX", "Lobular carcinoma, NOS"),
        ("P03", np.nan, pd.NA, None, None, None, None, None),
        ("P04", 7.0, 0, "Stage 0", "Tis (DCIS)", "N0 (i+)", "cM0 (i+)", "[Not Available]"),
        *((f"E{i:02d}", 3.0 * i, 1, "Stage I", "T1c", "N0", "M0", "carcinoma") for i in range(1, 21)),
        *((f"C{i:02d}", 30.0 * i, 0, "Stage IV", "T4b", "N3", "M1", "carcinoma") for i in range(1, 5)),
    ]
    names = ["patient_id", "time", "event", "stage", "clinical_t", "clinical_n", "clinical_m", "clinical_diagnosis"]
    frame = pd.DataFrame(rows, columns=names).assign(
        endpoint="OS", class_label=None, tissue_source_site=None, age=np.nan, sex=None, grade=None,
        clinical_location="breast",
    )  # fmt: skip
    return PATIENTS.validate(frame).set_index("patient_id")


@pytest.fixture
def splits(patients: pd.DataFrame) -> pd.DataFrame:
    """Two folds; the test part of fold 0 is E18-E20 and P02, of fold 1 E01-E03 and P01."""
    test = {0: ["E18", "E19", "E20", "P02"], 1: ["E01", "E02", "E03", "P01"]}
    rows = [
        (fold, patient, "test" if patient in test[fold] else "valid" if patient == "E10" else "train")
        for fold in test
        for patient in patients.index
    ]
    return pd.DataFrame(rows, columns=["fold", "patient_id", "part"])
