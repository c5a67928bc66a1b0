from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pathomix.cohort.inner_splits import INNER_SPLITS, inner_splits
from pathomix.cohort.nested_splits import nest_cohort, nest_splits
from pathomix.cohort.splits import make_splits
from pathomix.core.errors import PathomixError
from pathomix.core.provenance import Provenance
from pathomix.core.schemas import PATIENTS, SPLITS
from pathomix.core.tables import read_provenance, read_table, write_table

OUTER = {"scheme": "stratified_kfold", "folds": 3, "valid_fraction": 0.1}
INNER = {"scheme": "stratified_kfold", "folds": 2, "valid_fraction": 0.2}


def cohort(n=60, sites=10):
    return pd.DataFrame(
        {
            "patient_id": [f"P{i:04d}" for i in range(n)],
            "time": np.arange(1.0, n + 1),
            "event": pd.array([i % 2 for i in range(n)], dtype="Int8"),
            "endpoint": "OS",
            "class_label": pd.Series([("a", "b")[i % 3 == 0] for i in range(n)], dtype=object),
            "tissue_source_site": pd.Series([f"s{i % sites}" for i in range(n)], dtype=object),
            "age": np.nan, "sex": None, "stage": None, "grade": None,
        }
    )  # fmt: skip


@settings(max_examples=10, deadline=None)
@given(st.sampled_from(["stratified_kfold", "monte_carlo"]), st.integers(30, 70), st.integers(0, 9))
def test_inner_folds_hold_the_outer_training_patients_and_nobody_else(scheme, n, seed):
    patients = cohort(n)
    splits, _ = make_splits(patients, OUTER)
    inner, audits = nest_splits(patients, splits, {**INNER, "scheme": scheme, "seed": seed})
    INNER_SPLITS.validate(inner)
    assert [a["outer_fold"] for a in audits] == [0, 1, 2]
    for fold, rows in splits.groupby("fold"):
        train = set(rows.loc[rows["part"] == "train", "patient_id"])
        for _, group in inner[inner["fold"] == fold].groupby("inner_fold"):
            assert set(group["patient_id"]) == train and set(group["part"]) == {"train", "valid", "test"}


def test_one_outer_fold_is_a_table_of_splits():
    patients = cohort()
    inner, _ = nest_splits(patients, make_splits(patients, OUTER)[0], INNER)
    one = inner_splits(inner, 1)
    assert list(one.columns) == list(SPLITS.columns) and set(one["fold"]) == {0, 1}
    tested = one.query("part == 'test'")["patient_id"]
    assert tested.is_unique and set(tested) == set(one["patient_id"])
    with pytest.raises(PathomixError, match=r"no outer fold 7; choose one of \[0, 1, 2\]"):
        inner_splits(inner, 7)


def test_whole_sites_inside_whole_sites():
    patients = cohort()
    sites = {"scheme": "site_kfold", "folds": 3, "effort": 0.5}
    inner, audits = nest_splits(patients, make_splits(patients, sites)[0], {**sites, "folds": 2})
    assert all(a["worst"]["test_sites_on_two_sides"] == 0 and a["solver"] for a in audits) and len(inner) == 240


def test_every_outer_fold_has_a_draw_of_its_own():
    patients = cohort()
    # The same patients train in all outer folds, so that only the seed can tell their inner folds apart.
    same = pd.concat([make_splits(patients, OUTER)[0].query("fold == 0").assign(fold=fold) for fold in (0, 1)])
    inner, _ = nest_splits(patients, same, INNER)
    assert not inner_splits(inner, 0).equals(inner_splits(inner, 1))
    assert inner.equals(nest_splits(patients.sample(frac=1, random_state=0), same, INNER)[0])


def test_inner_schemes_that_cannot_be():
    patients = cohort()
    splits, _ = make_splits(patients, OUTER)
    with pytest.raises(PathomixError, match="scheme given cannot be nested; use stratified_kfold"):
        nest_splits(patients, splits, {"scheme": "given", "set": "x"})
    with pytest.raises(PathomixError, match="inside fold 0: 36 patients cannot fill 50 folds"):
        nest_splits(patients, splits, {**INNER, "folds": 50})


def test_files(tmp_path):
    patients = cohort()
    write_table(patients, PATIENTS, tmp_path / "p.parquet", Provenance("x"))
    write_table(make_splits(patients, OUTER)[0], SPLITS, tmp_path / "cv.parquet", Provenance("x"))
    arguments = tmp_path / "p.parquet", tmp_path / "cv.parquet"
    written = []
    for _ in range(2):
        nest_cohort("toy", *arguments, INNER, tmp_path / "cv.inner.parquet")
        written.append([(tmp_path / name).read_bytes() for name in ("cv.inner.parquet", "cv.inner.audit.json")])
    assert written[0] == written[1]
    assert len(read_table(tmp_path / "cv.inner.parquet", INNER_SPLITS)) == 3 * 2 * 36
    assert set(read_provenance(tmp_path / "cv.inner.parquet").inputs) == {"patients", "splits"}
    audits = json.loads((tmp_path / "cv.inner.audit.json").read_text())["outer_folds"]
    assert [a["outer_fold"] for a in audits] == [0, 1, 2] and audits[0]["name"] == "toy"
    with pytest.raises(PathomixError, match="cohort toy: inside fold 0: there is no split scheme"):
        nest_cohort("toy", *arguments, {"scheme": "x"}, tmp_path / "y.parquet")
