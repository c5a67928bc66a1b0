"""The certificate: every published cell once, with its answer or its reason."""

from __future__ import annotations

from math import isnan, nan, sqrt
from pathlib import Path

import pandas as pd
import pytest

from pathomix.core.errors import PathomixError
from pathomix.report.certificate import SIMULATED, certify, counted, read_cells
from pathomix.report.verdicts import NOT_REPRODUCED, NOT_RUN, REPRODUCED, WITHIN_NOISE

PRINTED = """table,task,modality,method,cohort,metric,mean,std
main,survival,genes,S-MLP,BRCA,c_index,0.700,0.010
main,survival,genes,S-MLP,RCC,c_index,0.800,0.010
main,survival,genes,S-MLP,Overall,c_index,0.750,
main,survival,genes,MCAT,BRCA,c_index,0.690,
main,survival,genes,SNN,BRCA,c_index,0.600,
main,survival,genes,SNN,Overall,c_index,0.610,
main,survival,genes,Secret,BRCA,c_index,0.600,
main,survival,genes,S-MLP,OV,c_index,0.500,
ood,survival,genes,S-MLP,BRCA,c_index,0.650,
"""


def score(method, cohort, mean, half, **changes):
    base = {"method": method, "label": method.upper(), "cohort": cohort, "scheme": "kfold", "metric": "c_index"}
    base |= {"mean": mean, "lower": mean - half, "upper": mean + half, "sd_folds": 0.03, "sd_seeds": 0.01}
    return {**base, "source": "run", "reason": None, **changes}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "paper.csv"
    path.write_text(PRINTED)
    return path


def configuration(path, **study):
    published = {
        "file": str(path),
        "tables": ["main"],
        "cohorts": {"here_brca": "BRCA", "here_rcc": "RCC"},
        "rows": {"s_mlp": "S-MLP", "mcat": "MCAT", "snn": "SNN"},
    }
    study = {"cohorts": ["here_brca"], "methods": ["s_mlp", "mcat", "snn"], "published": published, **study}
    return {"studies": {"one": study}, "cohorts": {"here_brca": {}, "here_rcc": {}}, "methods": {}}


def rows(*given):
    return pd.DataFrame(given)


def find(lines, method, cohort, table="main"):
    return [x for x in lines if (x.printed.method, x.printed.cohort, x.printed.table) == (method, cohort, table)]


def test_every_published_cell_stands_there_with_its_answer_or_the_reason(file):
    run = rows(
        score("s_mlp", "here_brca", 0.705, 0.04),
        score("s_mlp", "here_rcc", 0.60, 0.04),
        score("snn", "here_brca", nan, nan, reason="every fold: run failed: x"),
    )
    cells = read_cells([file])
    lines = certify(cells, configuration(file), {"one": run}, {"mcat": "no weights at nowhere"})
    assert [line.printed for line in lines] == cells and len(lines) == 9
    (brca,) = find(lines, "S-MLP", "BRCA")
    assert brca.verdict == REPRODUCED and (brca.study, brca.row, brca.label) == ("one", "s_mlp", "S_MLP")
    assert brca.ours == pytest.approx((0.705, 0.665, 0.745)) and (brca.sd_seeds, brca.sd_folds) == (0.01, 0.03)
    assert find(lines, "S-MLP", "RCC")[0].verdict == NOT_REPRODUCED
    reasons = {
        ("MCAT", "BRCA", "main"): "row mcat is left out: no weights at nowhere",
        ("SNN", "BRCA", "main"): "no value could be computed: every fold: run failed: x",
        ("SNN", "Overall", "main"): "no row of study one covers every cohort of main",
        ("Secret", "BRCA", "main"): "no row of study one answers it",
        ("S-MLP", "OV", "main"): "cohort OV is not in study one",
        ("S-MLP", "BRCA", "ood"): "no study of this configuration answers ood",
    }
    for key, reason in reasons.items():
        (line,) = find(lines, *key)
        assert (line.verdict, line.reason) == (NOT_RUN, reason) and isnan(line.ours.mean)
    assert sum(counted(lines).values()) == 9 and counted(lines)[REPRODUCED] == 1


def test_the_overall_value_is_the_mean_of_its_cohorts_with_their_intervals_put_together(file):
    # Without the OV cell the row covers every cohort of its table.
    file.write_text(PRINTED.replace("main,survival,genes,S-MLP,OV,c_index,0.500,\n", ""))
    run = rows(score("s_mlp", "here_brca", 0.70, 0.03), score("s_mlp", "here_rcc", 0.82, 0.04))
    lines = certify(read_cells([file]), configuration(file), {"one": run}, {})
    (line,) = find(lines, "S-MLP", "Overall")
    half = sqrt(0.03**2 + 0.04**2) / 2
    assert line.ours == pytest.approx((0.76, 0.76 - half, 0.76 + half)) and line.verdict == REPRODUCED
    # One cohort short: no mean.
    lines = certify(read_cells([file]), configuration(file), {"one": run[:1]}, {})
    assert find(lines, "S-MLP", "Overall")[0].verdict == NOT_RUN


def test_a_cell_that_two_rows_answer_has_two_lines_and_counts_once(file):
    config = configuration(file)
    config["studies"]["one"]["published"]["rows"]["other"] = "S-MLP"
    run = rows(score("s_mlp", "here_brca", 0.70, 0.03), score("other", "here_brca", 0.72, 0.03))
    lines = certify(read_cells([file]), config, {"one": run}, {})
    assert [line.verdict for line in find(lines, "S-MLP", "BRCA")] == [REPRODUCED, WITHIN_NOISE]
    assert sum(counted(lines).values()) == 9


def test_studies_that_are_only_planned_and_simulated_cohorts_say_so(file):
    lines = certify(read_cells([file]), configuration(file), {}, {})
    assert find(lines, "S-MLP", "BRCA")[0].reason == "study one is planned, not among the reported ones"
    simulated = configuration(file, published={}, cohorts=["sim"]) | {
        "simulation": {"cohorts": {"sim": {}}},
        "cohorts": {"sim": {}, "pan": {"union": ["sim"]}},
    }
    assert {line.reason for line in certify(read_cells([file]), simulated, {}, {})} == {SIMULATED}


def test_a_file_that_is_no_table_of_published_values_is_named(tmp_path):
    path = tmp_path / "odd.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(PathomixError, match="columns are missing: cohort, mean"):
        read_cells([path])


def test_the_published_tables_of_both_papers_can_be_read_whole():
    folder = Path(__file__).parents[3] / "resources/published"
    cells = read_cells(sorted(folder.glob("*.csv")))
    assert len(cells) == 186 and all(0 < cell.value <= 1 for cell in cells)
