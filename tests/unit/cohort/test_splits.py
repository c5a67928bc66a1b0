from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pathomix.cohort.given_splits import GIVEN_SPLITS
from pathomix.cohort.matrices import write_expression
from pathomix.cohort.splits import make_splits, split_cohort
from pathomix.cohort.strata import strata
from pathomix.core.errors import PathomixError
from pathomix.core.provenance import Provenance
from pathomix.core.schemas import PATIENTS, SPLITS
from pathomix.core.tables import read_provenance, read_table, write_table

KFOLD = {"scheme": "stratified_kfold", "folds": 5, "valid_fraction": 0.2, "seed": 1}
CARLO = {"scheme": "monte_carlo", "folds": 4, "test_fraction": 0.25, "valid_fraction": 0.2, "seed": 1}


def cohort(event, label):
    n = len(event)
    return pd.DataFrame(
        {
            "patient_id": [f"P{i:04d}" for i in range(n)],
            "time": np.where(pd.isna(event), np.nan, 1.0),
            "event": pd.array(event, dtype="Int8"),
            "endpoint": "OS",
            "class_label": pd.Series(label, dtype=object),
            "tissue_source_site": None, "age": np.nan, "sex": None, "stage": None, "grade": None,
        }
    )  # fmt: skip


@st.composite
def cohorts(draw):
    n = draw(st.integers(12, 80))
    event = draw(st.lists(st.sampled_from([0, 1, None]), min_size=n - 2, max_size=n - 2))
    label = draw(st.lists(st.sampled_from(["a", "b", "c", None]), min_size=n, max_size=n))
    return cohort([0, 1, *event], label)


@settings(max_examples=25, deadline=None)
@given(cohorts(), st.sampled_from([KFOLD, CARLO]), st.integers(0, 5))
def test_partition_disjoint_and_order_independent(patients, parameters, seed):
    splits, _ = make_splits(patients, {**parameters, "seed": seed})
    SPLITS.validate(splits)  # one row, hence one part, per patient and fold
    for _, fold in splits.groupby("fold"):
        assert set(fold["patient_id"]) == set(patients["patient_id"])
        assert set(fold["part"]) == {"train", "valid", "test"}
    shuffled = patients.sample(frac=1, random_state=seed)
    pd.testing.assert_frame_equal(splits, make_splits(shuffled, {**parameters, "seed": seed})[0])


@settings(max_examples=20, deadline=None)
@given(cohorts())
def test_every_patient_is_tested_once_and_folds_are_even(patients):
    splits, _ = make_splits(patients, KFOLD)
    test = splits[splits["part"] == "test"]
    assert sorted(test["patient_id"]) == sorted(patients["patient_id"])
    sizes = test.groupby("fold").size()
    assert sizes.max() - sizes.min() <= 1


@settings(max_examples=20, deadline=None)
@given(cohorts())
def test_strata_are_spread_evenly(patients):
    indexed = patients.set_index("patient_id")
    stratum = strata(indexed, ("event", "class_label"), 5)
    test = make_splits(patients, KFOLD)[0].query("part == 'test'")
    counts = pd.crosstab(test["fold"], stratum[test["patient_id"]].to_numpy())
    assert ((counts.max() - counts.min()) <= 1).all()
    draw = make_splits(patients, CARLO)[0].query("part == 'test'")
    fine = strata(indexed, ("event", "class_label"), 2)
    drawn = pd.crosstab(draw["fold"], fine[draw["patient_id"]].to_numpy()).reindex(columns=fine.unique(), fill_value=0)
    assert ((drawn - 0.25 * fine.value_counts()[drawn.columns]).abs() < 1).all().all()
    assert (draw.groupby("fold").size() == round(0.25 * len(patients))).all()


def test_seed_changes_the_draw_and_adding_nobody_does_not():
    patients = cohort([0, 1] * 30, ["a", "b", "b"] * 20)
    one, two = (make_splits(patients, {**CARLO, "seed": seed})[0] for seed in (1, 2))
    assert not one["part"].equals(two["part"])
    folds = [set(g.query("part == 'test'")["patient_id"]) for _, g in one.groupby("fold")]
    assert len({frozenset(f) for f in folds}) == 4


def test_rare_strata_are_merged_with_a_note():
    patients = cohort([0, 1] * 20, ["a"] * 38 + ["b", "b"])
    _, summary = make_splits(patients, {**KFOLD, "valid_fraction": 0})
    assert any("event=1 class_label=b" in note for note in summary["notes"])


def test_no_event_and_one_class():
    with pytest.raises(PathomixError, match=r"no event among 20 patients.*stratify: \[class_label\]"):
        make_splits(cohort([0] * 20, ["a", "b"] * 10), KFOLD)
    splits, _ = make_splits(cohort([0] * 20, ["a", "b"] * 10), {**KFOLD, "stratify": ["class_label"]})
    assert len(splits) == 100
    with pytest.raises(PathomixError, match="nothing to stratify by: class_label the same"):
        make_splits(cohort([0, 1] * 10, ["a"] * 20), {**KFOLD, "stratify": ["class_label"]})
    _, summary = make_splits(cohort([0, 1] * 10, ["a"] * 20), KFOLD)  # one class: survival still works
    assert any("class_label=a" in note for note in summary["notes"])


def test_test_part_without_event_is_reported_not_fatal():
    _, summary = make_splits(cohort([1, 1] + [0] * 28, ["a", "b"] * 15), {**KFOLD, "valid_fraction": 0})
    assert len(summary["test_without_event"]) == 3
    events = sum(row["events"] for row in summary["sizes"] if row["part"] == "test")
    assert events == 2


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"scheme": "site"}, "choose one of given, holdout, monte_carlo, site_kfold, stratified_kfold"),
        ({**KFOLD, "fold": 5}, "`fold`.*known: folds"),
        ({**KFOLD, "folds": 100}, "20 patients cannot fill 100 folds"),
        ({**KFOLD, "valid_fraction": 0.01}, "no valid part"),
        ({**CARLO, "test_fraction": 0.001}, "no test part"),
        ({"scheme": "given", "set": "x"}, "no given split set 'x'.*add `splits`"),
    ],
)
def test_parameters_that_cannot_be(parameters, message):
    with pytest.raises(PathomixError, match=message):
        make_splits(cohort([0, 1] * 10, ["a", "b"] * 10), parameters)


def folds_of(patients, test):
    ids = patients["patient_id"]
    part = ["test" if i in test else "train" for i in ids]
    return pd.DataFrame({"set": "mine", "fold": 3, "patient_id": ids, "part": part})


def test_given_folds_keep_their_test_part_and_get_a_valid_part():
    patients = cohort([0, 1] * 10, ["a", "b"] * 10)
    rows = folds_of(patients, {"P0001", "P0002"})
    splits, _ = make_splits(patients, {"scheme": "given", "set": "mine", "valid_fraction": 0.5}, rows)
    assert set(splits.query("part == 'test'")["patient_id"]) == {"P0001", "P0002"} and set(splits["fold"]) == {3}
    assert (splits["part"] == "valid").sum() == 9
    plain, summary = make_splits(patients, {"scheme": "given", "set": "mine"}, rows.iloc[:-1])
    assert set(plain["part"]) == {"train", "test"} and "1 patients of the cohort are not in" in summary["notes"][0]
    with pytest.raises(PathomixError, match=r"no given split set 'other'.*\['mine'\]"):
        make_splits(patients, {"scheme": "given", "set": "other"}, rows)
    with pytest.raises(PathomixError, match="valid part of its own"):
        own = rows.assign(part=["valid", *rows["part"][1:]])
        make_splits(patients, {"scheme": "given", "set": "mine", "valid_fraction": 0.5}, own)


def test_table_carries_parameters_and_summary(tmp_path):
    patients = cohort([0, 1] * 10, ["a", "b"] * 10)
    lineage = Provenance("x")
    write_table(patients, PATIENTS, tmp_path / "p.parquet", lineage)
    write_table(folds_of(patients, {"P0001"}), GIVEN_SPLITS, tmp_path / "g.parquet", lineage)
    for name, parameters in (("a", KFOLD), ("b", {"scheme": "given", "set": "mine"})):
        split_cohort("toy", tmp_path / "p.parquet", tmp_path / "g.parquet", parameters, tmp_path / f"{name}.parquet")
        assert len(read_table(tmp_path / f"{name}.parquet", SPLITS)) in {100, 20}
        stored = read_provenance(tmp_path / f"{name}.parquet").parameters
        assert stored["scheme"] == parameters["scheme"] and json.dumps(stored["summary"]["sizes"])
    with pytest.raises(PathomixError, match="cohort toy: there is no split scheme None"):
        split_cohort("toy", tmp_path / "p.parquet", None, {}, tmp_path / "c.parquet")


def test_a_class_smaller_than_the_folds_is_named_with_its_patients_and_what_to_type():
    patients = cohort([0, 1] * 20, ["a"] * 37 + ["b"] * 3)
    _, summary = make_splits(patients, KFOLD)
    text = next(note for note in summary["unavoidable"])
    assert "class b has 3 patients (P0037, P0038, P0039), fewer than the 5 folds: at least 2 test parts" in text
    assert "use 3 folds" in text and text in summary["notes"]
    assert make_splits(patients, {**KFOLD, "folds": 3})[1]["unavoidable"] == []


HOLDOUT = {"scheme": "holdout", "require": ["class_label"]}


def test_holdout_tests_complete_patients_only_and_rounds_up():
    patients = cohort([0, 1] * 50, ["a"] * 60 + ["b"] * 21 + [None] * 19)
    splits, summary = make_splits(patients, HOLDOUT)
    part = splits.set_index("patient_id")["part"]
    # 81 complete patients: 17 tested (20 % rounded up), of the remaining 64 10 validate (15 % rounded up).
    assert part.value_counts().to_dict() == {"train": 73, "test": 17, "valid": 10}
    assert (part[patients["patient_id"][81:]] == "train").all()
    label = patients.set_index("patient_id")["class_label"]
    assert label[part.index[part == "test"]].value_counts().to_dict() == {"a": 13, "b": 4}
    assert "19 patients without class_label are training patients" in summary["notes"]
    assert not make_splits(patients, {**HOLDOUT, "seed": 1})[0].equals(splits)


def test_holdout_by_measured_expression():
    patients = cohort([0, 1] * 20, ["a", "b"] * 20)
    measured = patients["patient_id"][:20].tolist()
    splits, _ = make_splits(patients, {"scheme": "holdout"}, measured=measured)
    assert set(splits.query("part != 'train'")["patient_id"]) < set(measured)
    with pytest.raises(PathomixError, match=r"who has any was not given; pass --expression"):
        make_splits(patients, {"scheme": "holdout"})
    with pytest.raises(PathomixError, match=r"0 of 40 patients have class_label and expression: too few"):
        make_splits(patients, {"scheme": "holdout"}, measured=[])


def test_holdout_reads_who_is_measured_from_the_expression_table(tmp_path):
    patients = cohort([0, 1] * 20, ["a", "b"] * 20)
    write_table(patients, PATIENTS, tmp_path / "p.parquet", Provenance("x"))
    frame = pd.DataFrame(1.0, index=patients["patient_id"][:10].to_numpy(), columns=["G"], dtype=np.float32)
    write_expression(tmp_path / "e.h5ad", frame, "log2", Provenance("x"))
    split_cohort(
        "toy", tmp_path / "p.parquet", None, {"scheme": "holdout"}, tmp_path / "s.parquet", tmp_path / "e.h5ad"
    )
    splits = read_table(tmp_path / "s.parquet", SPLITS)
    assert set(splits.query("part != 'train'")["patient_id"]) < set(patients["patient_id"][:10])


def test_the_audit_lies_beside_the_table(tmp_path):
    write_table(cohort([0, 1] * 10, ["a", "b"] * 10), PATIENTS, tmp_path / "p.parquet", Provenance("x"))
    written = []
    for _ in range(2):
        split_cohort("toy", tmp_path / "p.parquet", None, KFOLD, tmp_path / "cv.parquet")
        written.append((tmp_path / "cv.audit.json").read_bytes())
    audit = json.loads(written[0])
    assert audit["name"] == "toy" and audit["scheme"] == KFOLD and len(audit["folds"]) == 5
    assert set(audit["provenance"]["inputs"]) == {"patients"} and written[0] == written[1]
