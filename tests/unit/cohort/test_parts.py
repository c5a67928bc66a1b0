from __future__ import annotations

import pandas as pd
import pytest

from pathomix.cohort.cases import Cases
from pathomix.cohort.parts import parts_of
from pathomix.core.errors import PathomixError

CASES = Cases(pd.DataFrame({"age": [1.0, 2.0, 3.0, 4.0]}, index=pd.Index(list("abcd"), name="patient_id")))


def split(**parts):
    return pd.DataFrame({"patient_id": list(parts), "part": list(parts.values())})


def test_parts_in_table_order_and_nobody_else():
    parts = parts_of(CASES, split(d="train", a="train", b="test"))
    assert {name: list(part.ids) for name, part in parts.items()} == {"train": ["a", "d"], "valid": [], "test": ["b"]}


def test_unknown_and_repeated_patients_are_named():
    with pytest.raises(PathomixError, match="the cohort lacks: z"):
        parts_of(CASES, split(a="train", z="test"))
    twice = pd.concat([split(a="train"), split(a="test")])
    with pytest.raises(PathomixError, match="two parts of one fold: a"):
        parts_of(CASES, twice)
