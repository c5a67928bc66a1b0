"""Levels of simple models on published tables, measured independently of this package: within 0.012 of them.

Harrell's c of each test fold, mean over folds, one row per patient. Import, splits and fits are those of the workflow.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pathomix.cohort.cases import Cases
from pathomix.cohort.importer import build_cohort
from pathomix.cohort.loader import load_cases
from pathomix.cohort.splits import split_cohort
from pathomix.core.schemas import SPLITS
from pathomix.core.tables import read_table
from pathomix.genomics.gene_sets import read_measured
from pathomix.methods.build import build_method
from pathomix.methods.run import run_fold
from pathomix.survival.concordance import harrell_c

TOLERANCE = 0.012
# Cohort: name in the description, description, endpoint, set of given splits.
COHORTS = {
    "gbmlgg": ("gbmlgg", "porpoise_gbmlgg", None, "mc15"),
    "kirc": ("kirc", "porpoise_kirc", None, "mc15"),
    "blca_dss": ("blca", "survpath_blca", "DSS", "cv5"),
}
ALTERATIONS = ["copy_number", "mutation"]
Loaded = Callable[[str], tuple[Cases, pd.DataFrame]]


@pytest.fixture(scope="module")
def loaded(shared_data: Path, root: Path, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """Imports a cohort and its splits, once."""
    done: dict[str, tuple[Cases, pd.DataFrame]] = {}

    def load(cohort: str) -> tuple[Cases, pd.DataFrame]:
        if cohort not in done:
            name, description, endpoint, given = COHORTS[cohort]
            folder = tmp_path_factory.mktemp(cohort)
            path = root / f"config/cohorts/{description}.yaml"
            build_cohort(name, path, shared_data, folder, read_gene_sets=read_measured, endpoint=endpoint)
            parameters = {"scheme": "given", "set": given, "valid_fraction": 0.2, "seed": 0}
            files = [folder / file for file in ("patients.parquet", "given_splits.parquet", "splits.parquet")]
            split_cohort(cohort, files[0], files[1], parameters, files[2])
            done[cohort] = load_cases(folder), read_table(files[2], SPLITS)
        return done[cohort]

    return load


def fold_mean(cases: Cases, splits: pd.DataFrame, configuration: dict) -> float:
    scores = []
    for _, split in splits.groupby("fold"):
        result = run_fold(build_method(configuration), cases, split, ("survival",), 0)
        assert not result.failures
        test = result.predictions[result.predictions["part"] == "test"]
        scores.append(harrell_c(test["time"], test["event"], test["risk"]))
    return float(np.mean(scores))


@pytest.mark.parametrize(
    ("cohort", "configuration", "level"),
    [
        ("gbmlgg", {"method": "clinical"}, 0.782),
        ("kirc", {"method": "clinical"}, 0.677),
        ("gbmlgg", {"method": "ridge", "blocks": ALTERATIONS}, 0.812),
        ("gbmlgg", {"method": "ridge", "blocks": ["age", *ALTERATIONS]}, 0.839),
        pytest.param("gbmlgg", {"method": "ridge", "blocks": ["expression"]}, 0.786, marks=pytest.mark.slow),
        pytest.param("kirc", {"method": "ridge", "blocks": ["expression"]}, 0.705, marks=pytest.mark.slow),
        ("blca_dss", {"method": "ridge", "blocks": ["pathways"]}, 0.655),
    ],
)
def test_level(loaded: Loaded, cohort: str, configuration: dict, level: float) -> None:
    assert fold_mean(*loaded(cohort), configuration) == pytest.approx(level, abs=TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cohort", "configuration", "least"),
    [
        ("gbmlgg", {"method": "snn", "blocks": [*ALTERATIONS, "expression"]}, 0.79),
        ("kirc", {"method": "s_mlp", "blocks": ["expression"]}, 0.66),
    ],
)
def test_networks_reach(loaded: Loaded, cohort: str, configuration: dict, least: float) -> None:
    assert fold_mean(*loaded(cohort), configuration) >= least


def test_permuted_outcomes_leave_nothing(loaded: Loaded) -> None:
    cases, splits = loaded("gbmlgg")
    table = cases.patients.copy()
    known = table.index.isin(splits["patient_id"])
    outcome = table.loc[known, ["time", "event"]]
    table.loc[known, ["time", "event"]] = outcome.sample(frac=1, random_state=0).to_numpy()
    permuted = Cases(table.astype({"event": "Int8"}), cases.expression, cases.copy_number, cases.mutation)
    assert 0.44 < fold_mean(permuted, splits, {"method": "ridge", "blocks": ALTERATIONS}) < 0.56
