"""Published values stand beside the rows of a study and never among its numbers."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest

from pathomix.core.errors import PathomixError
from pathomix.core.provenance import Provenance
from pathomix.core.tables import write_table
from pathomix.evaluate.schemas import SCORES
from pathomix.evaluate.study import evaluate_study
from pathomix.report.layout import Layout
from pathomix.report.published import Published
from pathomix.report.render import render
from pathomix.report.tables import make_tables, published_table, read_csv, tables_of, tidy, to_csv

PAPER = """table,task,modality,method,cohort,metric,mean,std
T1,survival,histology,SCNN,TCGA-N,c_index,0.754,
T1,survival,histology,Big CNN,TCGA-N,c_index,0.792,0.014
T1,survival,genomics,Net,TCGA-N,c_index,0.808,0.014
T2,survival,histology,Big CNN,TCGA-S,c_index,0.671,0.023
T3,ablation,both,Net,TCGA-N,c_index,0.999,0.010
"""
GIVEN = {
    "tables": ["T1", "T2"],
    "cohorts": {"north": "TCGA-N", "south": "TCGA-S"},
    "rows": {"weak": "Net"},
    "carried": ["SCNN", "Big CNN"],
    "title": "Doe 2024",
}


@pytest.fixture
def given(tmp_path):
    (tmp_path / "doe.csv").write_text(PAPER)
    return {**GIVEN, "file": str(tmp_path / "doe.csv")}


@pytest.fixture(scope="module")
def study(hand_made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    cohorts = {"north": hand_made.cohort_table("north", 45, 1), "south": hand_made.cohort_table("south", 45, 2)}
    indices = hand_made.write_study(folder, {"strong": 0.9, "weak": 0.2, "oracle": 1.0}, cohorts)
    evaluate_study(indices, folder, {"bootstrap": 100}, folder)
    return folder / "scores.parquet"


@pytest.fixture
def rows(study, given):
    own = tidy(pd.read_parquet(study), Layout.of(["north", "south"], {"strong": "Strong", "weak": "Weak"}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return own, Published.of(given).beside(own)


def test_our_columns_are_untouched_and_a_row_that_was_not_run_has_none(rows):
    own, both = rows
    printed = [name for name in both if name.startswith("published_")]
    run = both[both["source"] == "run"].drop(columns=printed).reset_index(drop=True)
    pd.testing.assert_frame_equal(run, own.drop(columns=printed))
    carried = both[both["source"] == "published"]
    numbers = ["mean", "sd_folds", "half_width", "sd_seeds", "lower", "upper", "rank", "n_patients", "resampled_p"]
    assert len(carried) == 4 and carried[numbers].isna().all(axis=None)
    assert not carried["metric"].isin(["balanced_accuracy", "macro_auc"]).any()
    values = carried.set_index(["published_method", "cohort"], drop=False).loc[("Big CNN", "south")]
    assert (values["published_mean"], values["published_spread"]) == (0.671, 0.023)
    assert values["published_source"] == "Doe 2024, T2 (±: not defined there)"
    answered = both[both["published_mean"].notna() & (both["source"] == "run")]
    assert answered[["method", "cohort", "published_mean"]].to_numpy().tolist() == [["weak", "north", 0.808]]


def test_carried_rows_are_marked_shown_as_printed_and_stand_before_the_oracle(rows):
    _, both = rows
    results, beside = tables_of(both[both["metric"] == "c_index"], "survival")
    labels = [row.label for row in results.rows]
    assert labels == ["Strong", "Weak", "SCNN (published, not run)", "Big CNN (published, not run)", "Oracle"]
    north, south = zip(*((row.cells[0], row.cells[1]) for row in results.rows[2:4]), strict=True)
    assert [cell.text for cell in north] == ["0.754", "0.792 ± 0.014"]
    assert [cell.text for cell in south] == ["\N{EN DASH}", "0.671 ± 0.023"]
    assert dict(results.notes)[south[0].note] == "not published for this cohort"
    assert all(not cell.mark and cell.interval is None and cell.half_width is None for cell in (*north, *south))
    assert {row.label: row.cells[0].mark for row in results.rows}["Strong"] == "best"
    assert "as printed in Doe 2024, T1 (±: not defined there); Doe 2024, T2" in results.caption
    assert [heading.size[:6] for heading in results.headings] == ["n = 45"] * 2
    assert beside.title.endswith("here and as published")


def test_ours_and_published_stand_side_by_side(rows):
    _, both = rows
    laid = published_table(both, "c_index")
    assert [heading.label for heading in laid.headings] == ["north, here", "north, published"]
    assert laid.headings[1].size == "as printed"
    (row,) = laid.rows
    own = both[(both["method"] == "weak") & (both["cohort"] == "north") & (both["metric"] == "c_index")].iloc[0]
    assert row.label == "Weak" and row.cells[0].mean == f"{own['mean']:.3f}" and not row.cells[0].mark
    assert row.cells[0].half_width == f"{own['half_width']:.3f}"
    assert row.cells[1].text == "0.808 ± 0.014" and dict(laid.notes)[row.cells[1].note] == "published as Net"
    assert published_table(both, "macro_auc") is None and published_table(rows[0], "c_index") is None


def test_notes_of_both_halves_have_letters_of_their_own(rows):
    _, both = rows
    spoilt = both.assign(reason=both["reason"].where(both["method"] != "weak", "1 patient without prediction: P1"))
    laid = published_table(spoilt, "c_index")
    assert laid.notes == (("a", "1 patient without prediction: P1"), ("b", "published as Net"))
    assert [cell.note for cell in laid.rows[0].cells] == ["a", "b"]


def test_the_long_form_carries_everything_to_the_page(rows, tmp_path):
    _, both = rows
    mine = both[both["task"] == "survival"]
    (tmp_path / "t.csv").write_text(to_csv(mine))
    back = read_csv(tmp_path / "t.csv")
    for kind in ("md", "tex"):
        assert render(tables_of(back, "survival"), kind) == render(tables_of(mine, "survival"), kind)
        assert "nan" not in render(tables_of(back, "survival"), kind)


def test_without_the_option_the_tables_are_as_before_and_the_script_passes_it_on(study, given, root, tmp_path):
    make_tables(study, [], {}, tmp_path / "without")
    assert "published" not in (tmp_path / "without/survival.md").read_text()
    command = [sys.executable, str(root / "workflow_scripts/make_tables.py"), "--scores", str(study)]
    command += ["--published", json.dumps(given), "--output-dir", str(tmp_path / "with")]
    subprocess.run(command, check=True, env={"PYTHONPATH": str(root / "src"), "PATH": ""})
    assert "SCNN (published, not run) | 0.754 |" in (tmp_path / "with/survival.md").read_text()
    assert "published" not in (tmp_path / "with/subtype.md").read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"table": "T1"}, "unknown parameters: table"),
        ({"tables": "T1"}, "tables is 'T1'; give a list"),
        ({"tables": ["T9"]}, "no such tables: T9; use T1, T2, T3"),
        ({"tables": ["T1", "T2", "T3"]}, "several values for one row, cohort and metric: Net"),
        ({"cohorts": {"north": "BRCA"}}, "no such cohorts in the chosen tables: BRCA"),
        ({"cohorts": ["north"]}, "cohorts and rows are mappings"),
        ({"rows": {"weak": "Nett"}}, "no value of these rows for the chosen cohorts: Nett"),
        ({"carried": ["Net"]}, "both carried and answered by a row of the study: Net"),
        ({"file": "absent.csv"}, "absent.csv: no such file"),
    ],
)
def test_a_section_that_cannot_be_read_says_what_to_change(given, change, message):
    with pytest.raises(PathomixError, match=message):
        Published.of({**given, **change})


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [("0.792,0.014", "0.792,about", "not a number: Big CNN"), (",mean,", ",value,", "columns are missing: mean")],
)
def test_a_file_that_cannot_be_read_is_named(given, tmp_path, old, new, message):
    (tmp_path / "doe.csv").write_text(PAPER.replace(old, new))
    with pytest.raises(PathomixError, match=message):
        Published.of(given)


def test_a_row_that_is_not_of_the_study_is_refused(rows, given):
    with pytest.raises(PathomixError, match="not rows of this study: snn"):
        Published.of({**given, "rows": {"snn": "Net"}}).beside(rows[0])
    assert Published.of({**given, "rows": {}}).beside(rows[0].iloc[:0]).empty


def test_the_pinned_numbers_of_path_gptomic_are_those_of_the_specification(root, study):
    reference = root.parent / "shared/spec/reference_results/path_gptomic.csv"
    if reference.is_file():
        assert (root / "resources/published/path_gptomic.csv").read_bytes() == reference.read_bytes()
    chosen = {"cohorts": {"north": "TCGA-GBMLGG", "south": "TCGA-KIRC"}, "tables": ["Table1", "Table2"]}
    file = str(root / "resources/published/path_gptomic.csv")
    carried = ["SCNN (Histology Only)", "GSCNN (Histology + Genomic)", "PathOmics"]
    published = Published.of({**chosen, "file": file, "carried": carried})
    assert published.values["PathOmics", "south", "c_index"]["published_mean"] == 0.736
    assert np.isnan(published.values["SCNN (Histology Only)", "north", "c_index"]["published_spread"])
    assert len(published.values) == 16


def test_scores_of_a_study_never_hold_a_published_column(study):
    assert not [name for name in SCORES.columns if "published" in name or name == "source"]
    frame = pd.read_parquet(study).assign(published_mean=0.8)
    with pytest.raises(PathomixError, match="unknown columns: published_mean"):
        write_table(frame, SCORES, study.with_name("x.parquet"), Provenance("scores"))
