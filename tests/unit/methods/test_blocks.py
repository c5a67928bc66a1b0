from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pathomix.cohort.cases import Cases
from pathomix.core.errors import PathomixError
from pathomix.methods.blocks import Design, Layout


@pytest.fixture
def cases() -> Cases:
    ids = pd.Index(["P1", "P2", "P3", "P4"], name="patient_id")
    table = pd.DataFrame(
        {"age": [50.0, np.nan, 70.0, np.nan], "sex": ["male", "female", None, None], "stage": None, "grade": None}, ids
    )
    expression = pd.DataFrame([[1.0, 2, 3], [4, np.nan, 6]], ["P1", "P3"], ["A", "B", "C"], dtype=np.float32)
    mutation = pd.DataFrame([[1.0], [0.0]], ["P1", "P2"], ["A"], dtype=np.float32)
    pathways = {"ab": ("A", "B"), "c": ("C",), "absent": ("Z",)}
    return Cases(table, expression, None, mutation, pathways)


def test_columns_and_rows_of_joined_blocks(cases: Cases) -> None:
    layout = Layout.of(cases, ["age", "sex", "expression", "mutation"])
    assert layout.columns == (
        "age:age", "sex:female", "sex:male", "expression:A", "expression:B", "expression:C", "mutation:A",
    )  # fmt: skip
    matrix = layout.matrix(cases)
    assert list(matrix.index) == ["P1", "P2", "P3"]  # P4 has none of the blocks
    assert matrix.loc["P1"].tolist() == [50, 0, 1, 1, 2, 3, 1]
    assert matrix.loc["P2"].isna().tolist() == [True, False, False, True, True, True, False]


def test_pathway_means(cases: Cases) -> None:
    matrix = Layout.of(cases, ["pathways"]).matrix(cases)
    assert matrix.columns.tolist() == ["pathways:ab", "pathways:c"]
    assert matrix.loc["P1"].tolist() == [1.5, 3.0]
    assert matrix.loc["P3"].tolist() == [4.0, 6.0]


def test_category_unseen_in_training_is_missing(cases: Cases) -> None:
    layout = Layout.of(cases.subset(["P1"]), ["age", "sex"])
    assert layout.columns == ("age:age", "sex:male")
    assert np.isnan(layout.matrix(cases.subset(["P3"])).loc["P3", "sex:male"])
    assert layout.matrix(cases.subset(["P2"])).empty


def test_statistics_come_from_training_alone(cases: Cases) -> None:
    train = cases.subset(["P1", "P3"])
    design, matrix = Design.fit(train, ["age", "expression"], clip=1.5)
    changed = cases.patients.assign(age=[50.0, 1000.0, 70.0, -1000.0])
    index, rows = design.rows(Cases(changed, cases.expression))
    assert list(index) == ["P1", "P2", "P3", "P4"]
    assert rows[[0, 2]] == pytest.approx(design.scaled(matrix))
    assert rows[1, 0] == 1.5  # clipped
    assert rows[1, 1:].tolist() == pytest.approx([0.0, 0.0])  # medians imputed; B is constant and gone


def test_blocks_nobody_has_are_refused(cases: Cases) -> None:
    with pytest.raises(PathomixError, match="no training patient has the feature blocks: copy_number, stage"):
        Layout.of(cases, ["age", "copy_number", "stage"])
    with pytest.raises(PathomixError, match="unknown or no feature blocks: ages"):
        Layout.of(cases, ["ages"])
