"""One set of test patients for all rows of a study (Path-GPTomic section 9: every arm on the multimodal subset)."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from pathomix.evaluate.predictions import PROBABILITY, Runs

OWN, COMMON = "own", "common"
PATIENTS = (OWN, COMMON)
_PLACE = ["cohort", "scheme", "task", "fold"]


def common_patients(runs: Runs) -> Runs:
    """The runs with only those test patients expected that every run of the fold predicts.

    A run that failed, or that predicts nobody, is left out of the comparison rather than emptying it: its own row says
    what is wrong with it.

    Args:
        runs: Runs of one study.

    Returns:
        The same runs; `expected` holds fewer rows.
    """
    test = runs.predictions[runs.predictions["part"] == "test"]
    scores = [name for name in test if name == "risk" or str(name).startswith(PROBABILITY)]
    predicted = test.loc[test[scores].notna().any(axis=1), ["run", "task", "patient_id"]].drop_duplicates()
    usable = runs.index.loc[runs.index["problem"].isna(), ["run", *_PLACE]]
    told = usable.merge(predicted, on=["run", "task"])
    by_patient = told.groupby([*_PLACE, "patient_id"])["run"].nunique().rename("predicting")
    rows = told.groupby(_PLACE)["run"].nunique().rename("rows")
    counted = by_patient.reset_index().merge(rows.reset_index(), on=_PLACE)
    kept = counted.loc[counted["predicting"] == counted["rows"], [*_PLACE, "patient_id"]]
    compared = runs.expected.merge(rows.reset_index()[_PLACE], on=_PLACE)
    untouched = runs.expected[~_keys(runs.expected, _PLACE).isin(_keys(compared, _PLACE))]
    return replace(runs, expected=pd.concat([runs.expected.merge(kept, on=[*_PLACE, "patient_id"]), untouched]))


def _keys(frame: pd.DataFrame, columns: list[str]) -> pd.Index:
    return pd.MultiIndex.from_frame(frame[columns])
