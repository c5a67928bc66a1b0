from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from lifelines.utils import concordance_index

from pathomix.representations.modaltune_selection import Selection


@pytest.fixture
def selection(planted):
    """Vectors that tell class and hazard outright."""
    train, valid, _ = planted.parts(planted.planted(100))

    def vectors(cases, tasks, draw):
        told = pd.DataFrame({0: (cases.patients["class_label"] == "type1") * 9.0, 1: -np.log(cases.patients["time"])})
        return {tasks[0]: told}

    def of(criterion="both_tasks", train=train, valid=valid, standardise=False, shrink=1.0):
        model = SimpleNamespace(vectors=lambda *given: {n: shrink * found for n, found in vectors(*given).items()})
        return Selection(criterion, standardise, model, train, valid, train, valid)

    return SimpleNamespace(of=of, train=train, valid=valid)


def test_both_tasks_is_the_mean_of_accuracy_and_concordance(selection):
    scores = selection.of()(0)
    assert scores["valid_balanced_accuracy"] == 1.0
    table = selection.valid.patients
    assert scores["valid_concordance"] == pytest.approx(
        concordance_index(table["time"], table["time"], table["event"]), abs=0.02
    )
    assert scores["score"] == pytest.approx((1.0 + scores["valid_concordance"]) / 2)
    assert selection.of("valid_balanced_accuracy")(0)["score"] == 1.0


def test_a_standardised_probe_does_not_mind_the_size_of_the_vectors(selection):
    rare = selection.train.patients["class_label"] == "type1"
    few = selection.train.subset([*selection.train.ids[~rare], *selection.train.ids[rare][:6]])
    small = {given: selection.of(train=few, standardise=given, shrink=1e-3)(0) for given in (False, True)}
    assert small[False]["valid_balanced_accuracy"] == 0.5
    assert small[True]["valid_balanced_accuracy"] == 1.0


def test_what_cannot_be_computed_is_missing_and_the_other_decides(selection):
    unlabelled = replace(selection.valid, patients=selection.valid.patients.assign(class_label=None))
    scores = selection.of(valid=unlabelled)(0)
    assert math.isnan(scores["valid_balanced_accuracy"])
    assert scores["score"] == scores["valid_concordance"] > 0.9
    assert math.isnan(selection.of("valid_balanced_accuracy", valid=unlabelled)(0)["score"])
    eventless = replace(selection.train, patients=selection.train.patients.assign(event=0))
    scores = selection.of(train=eventless)(0)
    assert math.isnan(scores["valid_concordance"])
    assert scores["score"] == scores["valid_balanced_accuracy"]


def test_classes_that_training_lacks_do_not_count(selection):
    other = selection.valid.patients.copy()
    other.iloc[0, other.columns.get_loc("class_label")] = "type9"
    assert selection.of(valid=replace(selection.valid, patients=other))(0)["valid_balanced_accuracy"] == 1.0
