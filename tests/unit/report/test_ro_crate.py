"""The machine-readable twin against the structure rules of RO-Crate 1.1."""

from __future__ import annotations

from math import nan

import pytest

from pathomix.core.errors import PathomixError
from pathomix.report.certificate import Line, Printed
from pathomix.report.lineage import Artefact, Step
from pathomix.report.ro_crate import write_crate
from pathomix.report.verdicts import NOT_RUN, REPRODUCED, Ours

CELL = Printed("resources/paper.csv", "main", "S-MLP", "BRCA", "c_index", 0.7, 0.01)
LINES = [
    Line(CELL, REPRODUCED, study="one", row="s_mlp", cohort="brca", ours=Ours(0.71, 0.6, 0.8)),
    Line(Printed("resources/paper.csv", "main", "LP", "BRCA", "c_index", 0.6, nan), NOT_RUN, "left out"),
]


@pytest.fixture
def written(tmp_path):
    page = tmp_path / "report/index.html"
    table = tmp_path / "tables/a study/survival.csv"
    for path in (page, table):
        path.parent.mkdir(parents=True)
        path.write_text(path.name)
    sources = [
        Step("clinical", "ab" * 32, Artefact("ab" * 32, "raw/clinical.tsv", origin="https://host/clinical.tsv")),
        Step("lock", "cd" * 32, Artefact("cd" * 32, "locks/a.slides.tsv", md5={"S1.svs": "0f0f"})),
        Step("wording", "ef" * 16, None),
    ]
    output = tmp_path / "ro-crate-metadata.json"
    write_crate(output, "A run", {page: "The page", table: "Table"}, sources, LINES, "a: 1\n", "snakemake")
    return output


def test_the_crate_keeps_the_rules(written, check_crate):
    entities = check_crate(written)
    assert entities["tables/a%20study/survival.csv"]["encodingFormat"] == "text/csv"


def test_run_sources_and_verdicts_are_in_it(written, check_crate):
    entities = check_crate(written)
    run = entities["#run"]
    assert run["@type"] == "CreateAction" and run["instrument"] == {"@id": "#pathomix"}
    assert {"@id": "report/index.html"} in run["result"] and {"@id": "#configuration"} in run["object"]
    assert entities["#sha256-" + "ab" * 32]["isBasedOn"] == "https://host/clinical.tsv"
    assert "S1.svs 0f0f" in entities["#sha256-" + "cd" * 32]["description"]
    assert entities["#sha256-" + "ef" * 16]["name"] == "wording"
    first, second = entities["#verdict-1"], entities["#verdict-2"]
    assert first["value"] == REPRODUCED and first["name"] == "paper main, S-MLP, BRCA, c_index"
    ours = entities["#ours-1"]
    assert (ours["value"], ours["minValue"], ours["maxValue"]) == (0.71, 0.6, 0.8)
    assert entities["#published-1"]["value"] == 0.7 and {"@id": "#ours-1"} in first["valueReference"]
    assert (second["value"], second["description"]) == (NOT_RUN, "left out") and "#ours-2" not in entities


def test_the_check_can_fail(written, check_crate):
    (written.parent / "report/index.html").write_text("changed!")
    with pytest.raises(AssertionError):
        check_crate(written)


def test_a_file_outside_the_crate_or_another_name_is_refused(tmp_path):
    outside = tmp_path / "outside.csv"
    outside.write_text("")
    root = tmp_path / "results"
    root.mkdir()
    with pytest.raises(PathomixError, match=r"files are not below .*results: .*outside.csv"):
        write_crate(root / "ro-crate-metadata.json", "", {outside: ""}, [], [], "", "")
    with pytest.raises(PathomixError, match=r"call it ro-crate-metadata.json"):
        write_crate(root / "crate.json", "", {}, [], [], "", "")
