"""Order and words of methods and cohorts."""

from __future__ import annotations

import pytest

from pathomix.core.errors import PathomixError
from pathomix.evaluate.oracles import is_oracle
from pathomix.report.layout import Layout, MethodLabel

LABELS = {"snn": {"label": "SNN", "group": "Genomics"}, "abmil": {"label": "ABMIL", "group": "Histology"}}


def test_methods_follow_the_configuration_in_groups_then_the_alphabet_and_the_oracle_comes_last():
    layout = Layout.of([], {**LABELS, "ridge": {"label": "Ridge", "group": "Genomics"}, "cox": "Cox"})
    given = ["oracle_age", "zzz", "cox", "ridge", "abmil", "aaa", "snn"]
    assert layout.ordered_methods(given) == ["snn", "ridge", "abmil", "cox", "aaa", "zzz", "oracle_age"]
    assert layout.label("cox") == MethodLabel("Cox") and layout.label("late_fusion") == MethodLabel("late fusion")
    assert [layout.label(name).label for name in ("oracle", "oracle_age")] == ["Oracle", "Oracle, age alone"]
    assert is_oracle("oracle") and not is_oracle("an_oracle")


def test_cohorts_follow_the_configuration_then_the_alphabet():
    assert Layout.of(["kirc", "gbmlgg"], {}).ordered_cohorts(["blca", "gbmlgg", "aml", "kirc"]) == [
        *("kirc", "gbmlgg", "aml", "blca")
    ]


@pytest.mark.parametrize("label", [3, {"group": "x"}, {"label": "x", "colour": "red"}])
def test_a_label_of_another_form_is_refused_by_name(label):
    with pytest.raises(PathomixError, match=r"neither a text nor \{label, group\}: snn"):
        Layout.of([], {"snn": label})
