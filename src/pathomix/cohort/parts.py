"""The parts of one fold of a split."""

from __future__ import annotations

import pandas as pd

from pathomix.cohort.cases import Cases
from pathomix.core.errors import PathomixError
from pathomix.core.schemas import PARTS


def parts_of(cases: Cases, split: pd.DataFrame) -> dict[str, Cases]:
    """Training, valid and test part (`train`, `valid`, `test`), patients in table order.

    Args:
        cases: Whole cohort.
        split: SPLITS rows of one fold.

    Raises:
        PathomixError: The split names patients that the cohort lacks, or one of them in two parts.
    """
    ids = pd.Index(split["patient_id"])
    if ids.has_duplicates:
        raise PathomixError(
            "patients are in two parts of one fold",
            offending=ids[ids.duplicated()].unique(),
            remedy="correct the splits of this cohort",
        )
    unknown = ids.difference(cases.ids)
    if len(unknown):
        raise PathomixError(
            "the split names patients that the cohort lacks", offending=unknown, remedy="run split_cohort again"
        )
    return {part: cases.subset(cases.ids[cases.ids.isin(ids[split["part"] == part])]) for part in PARTS}
