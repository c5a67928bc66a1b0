"""The page: one file, complete, every anchor resolving, nothing loaded from elsewhere."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from importlib import metadata

import numpy as np
import pytest
from matplotlib.figure import Figure as MatplotlibFigure

from pathomix.core.errors import PathomixError
from pathomix.evaluate.leakage import LEAK_COLUMNS
from pathomix.evaluate.metrics import METRICS
from pathomix.evaluate.study import evaluate_study
from pathomix.report.fidelity import write_profiles
from pathomix.report.figures import plot_kaplan_meier
from pathomix.report.forest import plot_forests
from pathomix.report.page import StudyFiles, read_figure, read_quarantine, versions, write_report
from pathomix.report.style import COLUMN, PAGE, save
from pathomix.report.tables import make_tables

CONFIG = {"title": "Demo <b>", "studies": {"demo": {"title": "First study"}}, "evaluation": {"bootstrap": 100}}


@pytest.fixture(scope="module")
def built(hand_made, tmp_path_factory):
    results = tmp_path_factory.mktemp("results")
    cohorts = {"north": hand_made.cohort_table("north", 45, 1), "south": hand_made.cohort_table("south", 45, 2)}
    failed = {("weak", "south", fold): "no patient has tiles" for fold in range(3)}
    indices = hand_made.write_study(results, {"strong": 0.9, "weak": 0.2}, cohorts, failed=failed)
    scores = results / "evaluation/demo/scores.parquet"
    evaluate_study(indices, results, {"bootstrap": 100}, scores.parent)
    make_tables(scores, ["south", "north"], {}, results / "tables/demo")
    plot_forests(scores, ["south", "north"], {}, results / "figures/demo")
    for cohort in cohorts:
        mine = [path for path in indices if f"/{cohort}/" in str(path)]
        plot_kaplan_meier(mine, scores, results, cohort, "strong", {}, results / "figures/demo")
    lists = []
    for cohort, rows in (("north", "P1\tclinical.tsv\ttime <= 0\n"), ("south", "")):
        path = results / f"cohort/{cohort}/quarantine.tsv"
        path.parent.mkdir(parents=True)
        path.write_text(f"patient_id\tfile\treason\n{rows}")
        lists.append(path)
    oracle = results / "raw/simulated/north/oracle.json"
    oracle.parent.mkdir(parents=True)
    oracle.write_text(json.dumps({"patients": 45, "concordance": {"total": {"c": 0.81, "low": 0.7, "high": 0.9}}}))
    study = StudyFiles("demo", results / "tables/demo", results / "figures/demo", scores)
    return results, study, lists, [oracle]


@pytest.fixture(scope="module")
def page(built):
    results, study, lists, oracles = built
    output = results / "report/index.html"
    write_report([study], CONFIG, lists, oracles, {"python": "3.11"}, output)
    return output.read_text(encoding="utf-8")


def test_one_file_that_loads_nothing_and_whose_anchors_resolve(page, reader_of):
    reader = reader_of(page)
    assert reader.open == [] and len(reader.ids) == len(set(reader.ids))
    assert {link for link in reader.links if link[1:] not in reader.ids} == set()
    assert all(link.startswith("#") for link in reader.links)
    assert all(source.startswith("data:image/png;base64,") for source in reader.sources)
    assert not re.search(r"https?://|//cdn|@import|url\(", page) and "script" not in reader.tags


def test_it_holds_every_figure_whole_with_an_alternative_text(built, page, reader_of):
    results, *_ = built
    reader = reader_of(page)
    inside = {base64.b64decode(source.split(",", 1)[1]) for source in reader.sources}
    assert inside == {path.read_bytes() for path in (results / "figures/demo").glob("*.png")}
    assert all(reader.alts) and len(reader.alts) == 4


def test_a_figure_drawn_for_both_columns_of_a_journal_has_the_whole_width(tmp_path):
    for name, width in (("curve", COLUMN), ("panels", PAGE)):
        save(MatplotlibFigure(figsize=(width, 1)), tmp_path / name, name, "Words.")
    assert [read_figure(tmp_path / f"{name}.png").wide for name in ("curve", "panels")] == [False, True]


def test_tables_carry_scores_notes_headers_and_spreads(page):
    assert page.count("<caption>") == len(METRICS) + 1 and 'scope="row"' in page and 'scope="col"' in page
    assert "n = 45" in page and "events</span>" in page
    note = re.search(r'<li id="(study-demo-c-index-a)"><b>a</b>every fold: run failed: no patient has tiles</li>', page)
    assert note and f'href="#{note.group(1)}"' in page
    assert re.search(r'class="gone" aria-label="missing">–</span><sup>', page) and ">0.000<" not in page
    assert "95 % t half-width" in page and "nan" not in re.sub(r"data:[^\"]+", "", page)


def test_quarantine_oracle_configuration_versions_and_titles_are_there_and_escaped(page):
    assert "time &lt;= 0" in page and "cohort/north/quarantine.tsv: 1 entry" in page
    assert "Nothing set aside in: cohort/south/quarantine.tsv" in page
    assert "0.810" in page and "[0.700, 0.900]" in page
    assert "title: Demo &lt;b&gt;" in page and "<h1>Demo &lt;b&gt;</h1>" in page
    assert "<li>python<span>3.11</span></li>" in page and "First study</h2>" in page


def test_rows_left_out_and_profiles_are_told(built, tmp_path, reader_of):
    results, study, *_ = built
    write_profiles(tmp_path)
    output = results / "report/more.html"
    gone = {"titan": "slide encoder titan has no copy at <nowhere>"}
    figures = [results / "figures/demo/forest_survival.png"]
    leaks = tmp_path / "demo/declared_leaks.tsv"
    leaks.parent.mkdir()
    runs = [f"released\tnorth\tcv\t{fold}\t0\tscaler\tstandardise_on=all\t40\ttest" for fold in range(3)]
    leaks.write_text("\t".join(LEAK_COLUMNS) + "\n" + "\n".join(runs) + "\n")
    write_report(
        [study],
        CONFIG,
        [],
        [],
        {},
        output,
        left_out=gone,
        profiles=tmp_path / "profiles.csv",
        galleries={"smoothing": figures, "slides": figures},
        leaks=[leaks],
    )
    page = output.read_text(encoding="utf-8")
    assert "<strong>titan</strong>: slide encoder titan has no copy at &lt;nowhere&gt;." in page
    assert '<th scope="row">ModalTune</th><td>residual_mode</td><td>released</td><td>single</td><td>single</td>' in page
    assert '<th scope="row">Path-GPTomic</th><td>unit</td><td>-</td><td>region</td><td>patient</td>' in page
    reader = reader_of(page)
    assert {"smoothing-demo-forest-survival", "slides-demo-forest-survival"} <= set(reader.ids)
    assert (
        '<tr><td>demo</td><th scope="row">released</th><td>north</td><td>scaler</td><td>standardise_on=all</td>'
        '<td>test</td><td class="num">3</td></tr>'
    ) in page
    assert page.index('id="slides"') < page.index('id="smoothing"')
    assert {link for link in reader.links if link[1:] not in reader.ids} == set()


def test_an_unknown_kind_of_figure_is_refused(built, tmp_path):
    _, study, *_ = built
    with pytest.raises(
        PathomixError, match=r"unknown kinds of figures.*holidays.*splits, slides, smoothing, attribution"
    ):
        write_report([study], CONFIG, [], [], {}, tmp_path / "r/x.html", galleries={"holidays": []})


def test_no_path_of_this_machine_and_the_same_bytes_again(built, page):
    results, study, lists, oracles = built
    assert str(results) not in page
    again = results / "report/again.html"
    write_report([study], CONFIG, lists, oracles, {"python": "3.11"}, again)
    assert again.read_text(encoding="utf-8") == page


def test_long_quarantine_lists_are_cut_and_say_so(tmp_path):
    path = tmp_path / "q.tsv"
    path.write_text("reason\tslide_id\n" + "".join(f"no mpp\tS{i}\n" for i in range(450)))
    found = read_quarantine(path, tmp_path)
    assert found.total == 450 and len(found.rows) == 200 and found.columns == ("slide_id", "reason")
    assert found.rows[0] == ("S0", "no mpp") and found.source == "q.tsv"


def test_a_study_without_its_tables_is_refused(built, tmp_path):
    _, study, *_ = built
    missing = StudyFiles("demo", tmp_path, study.figures, study.scores)
    with pytest.raises(PathomixError, match=r"study demo: survival.csv is not there; run make_tables"):
        write_report([missing], CONFIG, [], [], {}, tmp_path / "report/index.html")
    missing = StudyFiles("demo", study.tables, tmp_path, study.scores)
    with pytest.raises(PathomixError, match="study demo: no figure of survival"):
        write_report([missing], CONFIG, [], [], {}, tmp_path / "report/index.html")


def test_versions_are_those_installed_and_the_pin_of_a_package_of_another_environment(root, tmp_path, monkeypatch):
    locks = [root / "locks/rules.txt", root / "locks/runner.txt"]
    found = versions(locks)
    assert {"python", "pathomix", "numpy", "lifelines", "torch"} <= set(found)
    assert found["numpy"] == np.__version__
    installed = metadata.version

    def without_torch(name: str) -> str:
        if name in {"torch", "snakemake", "jinja2"}:
            raise metadata.PackageNotFoundError(name)
        return installed(name)

    monkeypatch.setattr("pathomix.report.page.metadata.version", without_torch)
    assert versions(locks) == found
    (tmp_path / "lock.txt").write_text("# torch==1\nnumpy==1.0\n", encoding="utf-8")
    with pytest.raises(PathomixError, match=r"no lock pins a package.*torch.*make lock"):
        versions([tmp_path / "lock.txt"])


def test_the_script_writes_the_page(built, root):
    results, study, lists, _ = built
    command = [sys.executable, str(root / "workflow_scripts/write_report.py"), "--config", json.dumps(CONFIG)]
    command += ["--study", "demo", str(study.tables), str(study.figures), str(study.scores)]
    command += ["--quarantine", *map(str, lists), "--output", str(results / "report/script.html")]
    command += ["--published", str(root / "resources/published/modaltune.csv"), "--command", "snakemake --cores 3"]
    command += ["--locks", str(root / "locks/rules.txt"), str(root / "locks/runner.txt")]
    command += ["--sources", str(root / "config/cohorts"), "--crate", str(results / "ro-crate-metadata.json")]
    subprocess.run(command, check=True, env={"PYTHONPATH": str(root / "src"), "PATH": ""}, capture_output=True)
    text = (results / "report/script.html").read_text(encoding="utf-8")
    assert "First study" in text and "modaltune, main: 140 values, not run" in text and "snakemake --cores 3" in text
    assert json.loads((results / "ro-crate-metadata.json").read_text())["@graph"]
