"""The demo's table against the simulator's known truth, and against shuffled outcomes. Minutes: `make test-all`."""

from __future__ import annotations

import json
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


def run(root: Path, folder: Path, *arguments: str) -> Path:
    snakemake = runner(root, copy_repository(root, folder))
    snakemake("--cores", "2", *arguments)
    return folder


def scores(results: Path, study: str, metric: str = "c_index") -> pd.DataFrame:
    table = read_table(results / "evaluation" / study / "scores.parquet", SCORES)
    return table[table["metric"] == metric].set_index(["cohort", "method"])


@pytest.fixture(scope="module")
def results(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo from scratch, and five folds of its first study and of ModalTune's ablations."""
    folder = run(root, tmp_path_factory.mktemp("demo"), "--configfile", "config/demo.yaml")
    tables = [f"results/demo/tables/{study}/{t}.csv" for study in ("demo", "ablation") for t in ("survival", "subtype")]
    run(root, folder, "--configfile", "config/demo.yaml", "config/shoebox.yaml", "--", *tables)
    return folder / "results" / "demo"


@pytest.fixture(scope="module")
def demo(results: Path) -> pd.DataFrame:
    return scores(results, "demo")


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


@pytest.mark.parametrize("cohort", COHORTS)
@pytest.mark.parametrize("metric", ["c_index", "balanced_accuracy"])
def test_modaltune_is_above_each_of_its_modalities_on_one_split(results: Path, cohort: str, metric: str) -> None:
    rows = scores(results, "modaltune", metric).loc[cohort]["mean"]
    assert rows["modaltune"] > rows[["modaltune_image", "modaltune_genes"]].max()


@pytest.mark.parametrize("cohort", COHORTS)
def test_modaltune_is_above_its_ablations_where_the_modalities_complement_each_other(
    results: Path, cohort: str
) -> None:
    for metric in ("c_index", "balanced_accuracy"):
        rows = scores(results, "ablation", metric).loc[cohort]["mean"]
        assert rows["modaltune"] > rows[["modaltune_image", "modaltune_genes"]].max()


def test_smoothing_reads_mixtures_of_held_out_donors_better(results: Path) -> None:
    found = json.loads((results / "smoothing" / "scgpt_smoothed" / "validation.json").read_text())
    before, after = found["before"], found["after"]
    assert after["composition_r2"] > before["composition_r2"] > 0.3
    assert after["linearity_gap"] < before["linearity_gap"]


@pytest.mark.parametrize("cohort", COHORTS)
def test_path_gptomic_is_above_chance_and_below_the_truth(results: Path, cohort: str) -> None:
    rows = scores(results, "path_gptomic").loc[cohort]
    assert rows.loc["path_gptomic", "lower"] > 0.5
    methods = [name for name in rows.index if not name.startswith("oracle")]
    assert rows.loc[methods, "mean"].max() < rows.loc["oracle", "upper"]


def test_shuffled_outcomes_leave_every_row_at_chance(root: Path, tmp_path: Path) -> None:
    run(root, tmp_path, "--configfile", "config/demo.yaml", "config/demo_permuted.yaml")
    table = scores(tmp_path / "results" / "permuted", "demo")
    assert len(table) == 2 * (7 + 5), "methods and oracles of both cohorts"
    assert table["mean"].between(0.44, 0.56).all(), table["mean"].to_string()
