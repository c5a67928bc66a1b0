"""The demo's table against the simulator's known truth, and against shuffled outcomes. Minutes: `make test-all`."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from pathomix.core.tables import read_table
from pathomix.evaluate.schemas import SCORES
from tests.workflow.conftest import copy_repository, runner

pytestmark = pytest.mark.slow
COHORTS = ("sim_a", "sim_b")
ROWS = {
    "clinical": ["clinical"],
    "alterations": ["ridge_alterations"],
    "genes": ["ridge_genes", "ridge_pathways", "s_mlp"],
    "image": ["abmil"],
}


def scores(root: Path, folder: Path, results: str, *configs: str) -> pd.DataFrame:
    snakemake = runner(root, copy_repository(root, folder))
    snakemake("--cores", "2", "--configfile", *configs)
    table = read_table(folder / results / "evaluation" / "demo" / "scores.parquet", SCORES)
    return table[table["metric"] == "c_index"].set_index(["cohort", "method"])


@pytest.fixture(scope="module")
def demo(root: Path, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    return scores(root, tmp_path_factory.mktemp("demo"), "results/demo", "config/demo.yaml")


@pytest.mark.parametrize("cohort", COHORTS)
@pytest.mark.parametrize("modality", ROWS)
def test_every_modality_is_above_chance(demo: pd.DataFrame, cohort: str, modality: str) -> None:
    rows = demo.loc[cohort].loc[ROWS[modality]]
    assert rows.loc[rows["mean"].idxmax(), "lower"] > 0.5


@pytest.mark.parametrize("cohort", COHORTS)
def test_fusion_is_above_both_of_its_modalities(demo: pd.DataFrame, cohort: str) -> None:
    rows = demo.loc[cohort]["mean"]
    assert rows["late_fusion"] > rows[ROWS["image"] + ROWS["genes"]].max()


@pytest.mark.parametrize("cohort", COHORTS)
def test_no_row_is_above_the_oracle(demo: pd.DataFrame, cohort: str) -> None:
    rows = demo.loc[cohort]
    methods = [name for name in rows.index if not name.startswith("oracle")]
    assert rows.loc[methods, "mean"].max() < rows.loc["oracle", "upper"]


def test_shuffled_outcomes_leave_every_row_at_chance(root: Path, tmp_path: Path) -> None:
    table = scores(root, tmp_path, "results/permuted", "config/demo.yaml", "config/demo_permuted.yaml")
    assert len(table) >= 2 * 9
    assert table["mean"].between(0.44, 0.56).all(), table["mean"].to_string()
