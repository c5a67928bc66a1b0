"""The documentation: it builds without a warning, its links hold, and what it tells people to type works."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import yaml

from pathomix.core.schemas import PREDICTIONS
from tests.workflow.conftest import copy_repository, runner


@pytest.fixture
def made(root: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """The module that fills the pages."""
    monkeypatch.syspath_prepend(str(root / "docs"))
    import site_pages

    return site_pages


class Links(HTMLParser):
    """Links and anchors of a page."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.anchors: set[str] = set()
        self.feed(page.read_text("utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        named = dict(attributes)
        self.anchors |= {value for key in ("id", "name") if (value := named.get(key))}
        self.links |= {value for key in ("href", "src") if (value := named.get(key))}


def test_every_key_of_the_schema_is_on_the_page_of_the_configuration(root: Path, made) -> None:
    page = made.Site(root).filled("configuration", "<!-- made: configuration -->")
    schema = yaml.safe_load((root / "config/schemas/config.schema.yaml").read_text())
    for key, entry in schema["properties"].items():
        assert f"| `{key}` |" in page
        for inner in entry.get("properties", {}):
            assert f"| `{key}.{inner}` |" in page
    assert "| `embedding.passes.<name>` | list of: string, 1 or more |" in page
    assert "| `studies.<name>.patients` | one of `own`, `common` | `own` |" in page


def test_every_rule_is_on_the_page_of_rules_with_what_it_does(root: Path, made) -> None:
    rows = made.Site(root).filled("rules", "<!-- made: rules -->").splitlines()[2:]
    rules = [name for path in sorted((root / "rules").glob("*.smk")) for name in
             re.findall(r"^rule (\w+):", path.read_text(), re.MULTILINE)]  # fmt: skip
    assert [row.split("`")[1] for row in rows] == rules
    assert all(row.split("|")[2].strip() for row in rows)
    assert "`runs/<study>/<method>/<cohort>/<scheme>.parquet`" in "".join(rows)


def test_every_column_of_a_schema_is_on_the_page_of_artefacts(root: Path, made) -> None:
    page = made.Site(root).filled("artefacts", "<!-- made: tables -->")
    chapter = page[page.index("## predictions\n") :].split("\n## ")[0]
    assert all(f"| `{column}` |" in chapter for column in PREDICTIONS.columns)
    assert "| `probability_…` | | further columns |" in chapter
    assert "| `part` | text | `train`, `valid`, `test` |" in chapter


def test_parameters_come_with_default_and_meaning(root: Path, made) -> None:
    page = made.Site(root).filled("parameters", "<!-- made: parameters -->")
    assert "| `close_um` | `24.0` | Radius of the closing. |" in page
    assert "of each channel over the maps of `stages`. |" in page  # the end of an explanation of several lines
    # A field without a meaning is a gap in the code's docstrings; one without any is a reader that broke.
    rows = [row for row in page.splitlines() if row.startswith("| `")]
    told = sum(not row.endswith("|  |") for row in rows)
    assert told > 0.9 * len(rows), [row for row in rows if row.endswith("|  |")]


def test_links_out_of_the_pages_become_paths_and_dead_ones_are_errors(root: Path, made) -> None:
    site = made.Site(root)
    assert site.filled("x", "[keys](../config/README.md#keys)") == "[keys](configuration.md#keys)"
    assert site.filled("x", "[made](../Makefile), [`../Makefile`](../Makefile)") == "made (`Makefile`), `../Makefile`"
    assert site.filled("x", "```\n[a](nowhere.md)\n```") == "```\n[a](nowhere.md)\n```"
    with pytest.raises(FileNotFoundError, match=r"nowhere\.md"):
        site.filled("x", "[a](nowhere.md)")
    with pytest.raises(KeyError, match="nothing"):
        site.filled("x", "<!-- made: nothing -->")


def test_a_new_page_appears_by_itself(root: Path, made, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    for name, text in {"index": "```{toctree}\none\n```\n<!-- made: more pages -->", "one": "", "two": ""}.items():
        (tmp_path / "docs" / f"{name}.md").write_text(text)
    made.Site.__init__(site := object.__new__(made.Site), tmp_path)
    page = site.filled("index", (tmp_path / "docs/index.md").read_text())
    assert page.endswith("```{toctree}\n:caption: More\n\ntwo\n```")


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_no_link_is_dead(root: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-E", "-q", "-W", "--keep-going", "-b", "html",
         "-d", str(tmp_path / "doctrees"), str(root / "docs"), str(tmp_path / "html")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    pages = {path: Links(path) for path in (tmp_path / "html").glob("*.html")}
    assert {path.stem for path in (root / "docs").glob("*.md")} <= {path.stem for path in pages}
    dead, outside = [], []
    for page, found in pages.items():
        for link in found.links:
            name, _, anchor = re.sub(r"\?v=\w+$", "", unquote(link)).partition("#")
            if re.match(r"(https?|mailto|data):", link):
                continue
            target = page if not name else (page.parent / name).resolve()
            anchors = pages[target].anchors if anchor and target in pages else {anchor}
            if not target.is_file() or anchor not in anchors:
                dead.append(f"{page.name}: {link}")
        text = page.read_text("utf-8")
        outside += [
            f"{page.name}: {src}" for src in re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="https?://', text)
        ]
    assert not dead
    # The site is read offline: nothing is loaded from elsewhere.
    assert not outside


@pytest.mark.slow
def test_the_page_about_an_own_cohort_runs_as_it_stands(root: Path, tmp_path: Path) -> None:
    folder = copy_repository(root, tmp_path / "checkout")
    page = (root / "docs" / "own_cohort.md").read_text("utf-8")
    for name, text in re.findall(r"in `(config/[\w/]+\.yaml)`.*?```yaml\n(.*?)```", page, re.DOTALL):
        (folder / name).write_text(text)
    assert (folder / "config/mine.yaml").is_file() and (folder / "config/cohorts/mine.yaml").is_file()
    header = next(line for line in page.splitlines() if line.startswith("| patient"))
    random = np.random.default_rng(0)
    rows = [",".join(cell.strip() for cell in header.strip("|").split("|"))]
    for number in range(90):
        age = random.integers(35, 85)
        time = int(random.exponential(4e6 / age**2)) + 1
        rows.append(f"P{number:02},{time},{'dead' if random.random() < 0.7 else 'alive'},ductal,{age}")
    (folder / "mine").mkdir()
    (folder / "mine/patients.csv").write_text("\n".join(rows) + "\n")
    snakemake = runner(root, folder)
    snakemake("--cores", "1", "--configfile", "config/mine.yaml")
    assert (folder / "results/mine/report/index.html").is_file()
    # What .snakemake-workflow-catalog.yml promises.
    snakemake("--configfile", "config/mine.yaml", "--report", "snakemake.html")
    assert (folder / "snakemake.html").is_file()
    assert (folder / "results/mine/cohort/mine/quarantine.tsv").is_file()
