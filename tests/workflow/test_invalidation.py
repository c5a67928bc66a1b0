"""A rule re-runs when, and only when, content, parameters, environment or the meaning of code changed."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.workflow.conftest import Snakemake, planned

CONFIG = ("--configfile", "tests/workflow/config.yaml")
SLIDE_CONE = {"segment_tissue", "cut_tiles", "embed_tiles", "index_features"}
VECTOR_CONE = {"train_representation", "embed_cohort", "explain_representation", "plot_attribution", "draw_heatmaps"}
TABLE_CONE = {"evaluate_study", "make_tables", "write_profiles", "write_report", "all"}
REPORT_CONE = TABLE_CONE | {"plot_kaplan_meier", "plot_forest", "plot_calibration"}
FIT_CONE = {"fit_method", "plot_training"}


def dry_run(snakemake: Snakemake) -> dict[str, int]:
    return planned(snakemake("-n", *CONFIG))


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text, f"{old!r} is no longer in {path}"
    path.write_text(text.replace(old, new, 1))


def test_second_run_has_nothing_to_do(finished: tuple[Path, Snakemake]) -> None:
    _, snakemake = finished
    assert dry_run(snakemake) == {}


def test_touching_or_commenting_code_reruns_nothing(finished: tuple[Path, Snakemake]) -> None:
    folder, snakemake = finished
    later = time.time() + 3600
    files = sorted([*(folder / "src").rglob("*.py"), *(folder / "workflow_scripts").glob("*.py")])
    before = {path: path.read_text() for path in files}
    for path in files:
        text = before[path]
        path.write_text(f"# a new comment\n{text}".replace('"""', '"""Edited: ', 1) + "\n# the end\n")
        os.utime(path, (later, later))
    try:
        assert dry_run(snakemake) == {}
    finally:
        for path, text in before.items():
            path.write_text(text)


def test_a_constant_in_the_tissue_code_reruns_the_slide_cone_only(finished: tuple[Path, Snakemake]) -> None:
    folder, snakemake = finished
    path = folder / "src/pathomix/slides/tissue.py"
    before = path.read_text()
    path.write_text(before + "\n_NEW_CONSTANT = 1\n")
    try:
        plan = dry_run(snakemake)
    finally:
        path.write_text(before)
    pictures = {"contact_sheet", "probe_site", "plot_balance"}
    assert set(plan) == SLIDE_CONE | REPORT_CONE | VECTOR_CONE | pictures | {"cut_regions"} | FIT_CONE
    # abmil and late_fusion, four probes of sim_a, one of the union, Path-GPTomic on tiles and on regions
    assert plan["fit_method"] == 9, "only the rows that read tiles or regions"


@pytest.mark.parametrize(
    ("old", "new", "rules", "fits"),
    [
        ("method: s_mlp, blocks", "method: snn, blocks", FIT_CONE | REPORT_CONE, 1),
        ("bootstrap: 200", "bootstrap: 201", REPORT_CONE, 0),
        (
            "folds: 3",
            "folds: 4",
            {
                "split_cohort",
                "unite_splits",
                "draw_splits",
                "simulate_oracle",
                "write_texts",
                *FIT_CONE,
                "plot_balance",
            }
            | VECTOR_CONE
            | REPORT_CONE,
            None,
        ),
        ("gene_latent: 4", "gene_latent: 5", VECTOR_CONE | FIT_CONE | REPORT_CONE, 4),
        ("width: 32", "width: 33", {"write_texts"} | FIT_CONE | VECTOR_CONE | REPORT_CONE, 4),
        (
            "pure_cells: 16, epochs: 2",
            "pure_cells: 16, epochs: 3",
            {"train_smoother", "smooth_expression", "plot_smoothing", "plot_balance"} | FIT_CONE | REPORT_CONE,
            2,
        ),
        ("slide_vector: {method: probe", "slide_vector: {penalty: 2, method: probe", FIT_CONE | REPORT_CONE, 1),
    ],
)
def test_a_configuration_key_reruns_what_reads_it(
    finished: tuple[Path, Snakemake], old: str, new: str, rules: set[str], fits: int | None
) -> None:
    folder, snakemake = finished
    path = folder / "tests/workflow/config.yaml"
    before = path.read_text()
    replace(path, old, new)
    try:
        plan = dry_run(snakemake)
    finally:
        path.write_text(before)
    assert set(plan) == rules
    assert fits is None or plan.get("fit_method", 0) == fits
