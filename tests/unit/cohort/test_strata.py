from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pathomix.cohort.split_parameters import Draft, KFoldParameters
from pathomix.cohort.strata import check_outcomes, draw, note_small_classes, shuffled, strata, with_valid
from pathomix.core.errors import PathomixError


def cohort(event, label):
    index = pd.Index([f"P{i:04d}" for i in range(len(event))], name="patient_id")
    return pd.DataFrame({"event": pd.array(event, dtype="Int8"), "class_label": pd.Series(label, dtype=object).values},
                        index=index)  # fmt: skip


@st.composite
def cohorts(draw):
    n = draw(st.integers(12, 80))
    event = draw(st.lists(st.sampled_from([0, 1, None]), min_size=n, max_size=n))
    label = draw(st.lists(st.sampled_from(["a", "b", "c", None]), min_size=n, max_size=n))
    return cohort(event, label)


@settings(max_examples=20, deadline=None)
@given(cohorts(), st.integers(2, 8))
def test_no_stratum_stays_rare(patients, smallest):
    assert strata(patients, ("event", "class_label"), smallest).value_counts().min() >= smallest


def test_missing_outcome_is_a_stratum_of_its_own():
    stratum = strata(cohort([0, 1, None] * 10, ["a"] * 30), ("event",), 5)
    assert stratum.value_counts().to_dict() == {"event=0": 10, "event=1": 10, "event=unknown": 10}


@settings(max_examples=30, deadline=None)
@given(cohorts(), st.integers(0, 12), st.text(max_size=3))
def test_a_draw_has_its_size_and_every_stratum_in_proportion(patients, number, key):
    stratum = strata(patients, ("event", "class_label"), 2)
    drawn = stratum[stratum.index.isin(sorted(draw(stratum, number, key)))]
    assert len(drawn) == number
    wanted = stratum.value_counts() * number / len(stratum)
    assert ((drawn.value_counts().reindex(wanted.index, fill_value=0) - wanted).abs() < 1).all()


def test_nobodys_place_depends_on_who_else_is_there():
    order = shuffled((f"P{i}" for i in range(50)), "k")
    assert order == shuffled((f"P{i}" for i in reversed(range(50))), "k") != shuffled((f"P{i}" for i in range(50)), "l")
    assert [i for i in order if i != "P7"] == shuffled((f"P{i}" for i in range(50) if i != 7), "k")


def test_a_valid_part_of_nobody_is_refused():
    patients = cohort([0, 1] * 5, ["a", "b"] * 5)
    parameters = KFoldParameters(scheme="stratified_kfold", valid_fraction=0.01)
    with pytest.raises(PathomixError, match=r"fold 3: 0.01 of 10 training patients is no valid part"):
        with_valid(patients.index, patients, parameters, 3, Draft())


def test_a_cohort_without_events_is_refused_only_where_events_matter():
    patients = cohort([0] * 10, ["a", "b"] * 5)
    with pytest.raises(PathomixError, match=r"no event among 10 patients.*stratify: \[class_label\]"):
        check_outcomes(patients, ("event", "class_label"))
    check_outcomes(patients, ("class_label",))


def test_missing_classes_are_no_class():
    draft = Draft()
    note_small_classes(cohort([0, 1] * 5, ["a"] * 8 + [None] * 2), 5, draft)
    assert draft.unavoidable == []
