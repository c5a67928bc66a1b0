"""Panels: what opens when a number is clicked."""

from __future__ import annotations

import pandas as pd
import pytest

from pathomix.core.files import file_digest
from pathomix.core.provenance import Provenance
from pathomix.core.schemas import RUN_INDEX
from pathomix.core.tables import write_table
from pathomix.report.lineage import Lineage
from pathomix.report.panels import artefacts, panels

PLACE = ("my row", "north", "cv")


def index_rows(folds, failed=()):
    base = {"study": "one", "method": PLACE[0], "cohort": PLACE[1], "scheme": PLACE[2], "task": "survival"}
    for fold in range(folds):
        gone = fold in failed
        unit = {"fold": fold, "seed": 0, "status": "failed" if gone else "done", "reason": "no event" if gone else None}
        yield {**base, **unit, "path": None if gone else f"p{fold}", "sha256": None if gone else f"{fold:064x}"}


@pytest.fixture
def results(tmp_path):
    root = tmp_path / "results"
    (root / "cohort").mkdir(parents=True)
    (root / "cohort/patients.tsv").write_text("x\n")
    return root


def made(results, folds=2, failed=()):
    inputs = {"patients": file_digest(results / "cohort/patients.tsv"), "splits": "0" * 32}
    provenance = Provenance("run_index", 1, inputs, {"code": "c0de", "configuration": {"alpha": 1, "method": "ridge"}})
    index = results / "runs/one/my row/north/cv.parquet"
    index.parent.mkdir(parents=True)
    write_table(pd.DataFrame(index_rows(folds, failed)), RUN_INDEX, index, provenance)
    place = dict(zip(("method", "cohort", "scheme"), PLACE, strict=True))
    rows = pd.DataFrame([{**place, "label": "My <row>", "source": "run", "metric": name} for name in ("c", "auc")])
    return panels("one", rows, results, "out", Lineage.gather(results), "snakemake --cores 2")


def test_one_panel_per_row_and_cohort_with_runs_code_inputs_and_commands(results):
    found, steps = made(results, failed=(1,))
    (panel,) = found.values()
    assert list(found) == [PLACE] and panel.anchor == "run-one-my-row-north-cv" and panel.title == "My <row>, north"
    assert panel.runs == (("cv-0/seed0", "0" * 16), ("cv-1/seed0", "failed: no event")) and panel.more == 0
    assert panel.configuration == "alpha: 1\nmethod: ridge" and panel.provenance.parameters["code"] == "c0de"
    assert [(step.name, step.artefact is None) for step in panel.inputs] == [("patients", False), ("splits", True)]
    assert panel.sources == panel.inputs, "one is a source, the other was not found"
    assert panel.here == (
        "rm -r 'out/runs/one/my row/north/cv-0' 'out/runs/one/my row/north/cv-1' && "
        "snakemake --cores 2 --force -- 'out/runs/one/my row/north/cv.parquet'"
    )
    again = "'out-again/runs/one/my row/north/cv.parquet'"
    assert panel.afresh == f"snakemake --cores 2 --config results=out-again -- {again}"
    assert [step.artefact.path for step in artefacts(steps)] == ["cohort/patients.tsv"]


def test_long_lists_of_runs_are_cut_and_counted(results):
    (panel,) = made(results, folds=75)[0].values()
    assert len(panel.runs) == 60 and panel.more == 15


def test_a_row_without_a_run_index_has_no_panel(results):
    rows = pd.DataFrame([{"method": "a", "cohort": "b", "scheme": "c", "label": "A", "source": "run"}])
    assert panels("one", rows, results, "out", Lineage.gather(results), "snakemake") == ({}, [])
