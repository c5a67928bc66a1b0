"""A page of a small study with everything in it, a reader of pages, and the rules of RO-Crate."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from pathomix.core.files import file_digest
from pathomix.evaluate.study import evaluate_study
from pathomix.report.figures import plot_kaplan_meier
from pathomix.report.forest import plot_forests
from pathomix.report.page import Reproduction, StudyFiles, write_report
from pathomix.report.tables import make_tables

PRINTED = """table,task,modality,method,cohort,metric,mean,std
main,survival,genes,S-MLP,BRCA,c_index,0.700,0.010
main,survival,genes,MCAT,BRCA,c_index,0.690,
other,survival,genes,MCAT,BRCA,c_index,0.690,
"""
COMMAND = "snakemake --cores 2 --configfile config/small.yaml"


class Reader(HTMLParser):
    """Collects ids, references, alternative texts and unclosed tags."""

    VOID = frozenset({"meta", "img", "br", "link", "input", "hr"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.sources: list[str] = []
        self.alts: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        self.ids += [values["id"]] if "id" in values else []
        self.links += [values["href"]] if "href" in values else []
        self.sources += [values[name] for name in ("src", "srcset", "data", "action", "poster") if name in values]
        if tag == "img":
            self.alts.append(values.get("alt", ""))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="session")
def certified_page(hand_made, tmp_path_factory) -> Path:
    """A study of two rows on two cohorts, its certificate, panels and crate; returns the page."""
    root = tmp_path_factory.mktemp("page")
    results = root / "results"
    cohorts = {"north": hand_made.cohort_table("north", 45, 1), "south": hand_made.cohort_table("south", 45, 2)}
    indices = hand_made.write_study(results, {"strong": 0.9, "weak": 0.2}, cohorts)
    scores = results / "evaluation/demo/scores.parquet"
    parameters = {"bootstrap": 100, "reference": "strong"}
    evaluate_study(indices, results, parameters, scores.parent)
    make_tables(scores, ["north", "south"], {}, results / "tables/demo")
    plot_forests(scores, ["north", "south"], {}, results / "figures/demo")
    for cohort in cohorts:
        mine = [path for path in indices if f"/{cohort}/" in str(path)]
        plot_kaplan_meier(mine, scores, results, cohort, "strong", {}, results / "figures/demo")
    file = root / "paper.csv"
    file.write_text(PRINTED)
    published = {"file": str(file), "tables": ["main"], "cohorts": {"north": "BRCA"}, "rows": {"strong": "S-MLP"}}
    config = {
        "title": "Small",
        "results": "results/small",
        "studies": {"demo": {"cohorts": ["north", "south"], "methods": ["strong", "weak"], "published": published}},
    }
    study = StudyFiles("demo", results / "tables/demo", results / "figures/demo", scores)
    asked = Reproduction([file], [], COMMAND, results / "ro-crate-metadata.json")
    page = results / "report/index.html"
    write_report([study], config, [], [], {"python": "3"}, page, reproduction=asked)
    return page


@pytest.fixture(scope="session")
def reader_of():
    """Reads a page."""
    return Reader


def references(value):
    """Every @id that an entity refers to."""
    if isinstance(value, dict):
        yield from [value["@id"]] if set(value) == {"@id"} else []
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def check(path):
    """The rules: descriptor, root, unique ids, no dangling reference, files there with their hash."""
    crate = json.loads(path.read_text())
    assert path.name == "ro-crate-metadata.json"
    context = crate["@context"] if isinstance(crate["@context"], list) else [crate["@context"]]
    assert context[0] == "https://w3id.org/ro/crate/1.1/context"
    entities = {entity["@id"]: entity for entity in crate["@graph"]}
    assert len(entities) == len(crate["@graph"]) and all(entity["@type"] for entity in entities.values())
    descriptor = entities["ro-crate-metadata.json"]
    assert descriptor["@type"] == "CreativeWork" and descriptor["about"] == {"@id": "./"}
    assert descriptor["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.1"}
    root = entities["./"]
    assert root["@type"] == "Dataset" and {"name", "description", "datePublished", "license"} <= set(root)
    dangling = {
        ref for ref in references(crate["@graph"]) if ref not in entities and not ref.startswith("https://w3id")
    }
    assert not dangling
    files = [entity for entity in entities.values() if entity["@type"] == "File"]
    assert {entity["@id"] for entity in files} == {ref["@id"] for ref in root["hasPart"]}
    for entity in files:
        place = path.parent / unquote(entity["@id"])
        assert ".." not in entity["@id"] and not entity["@id"].startswith("/")
        assert place.is_file() and file_digest(place) == entity["sha256"]
        assert entity["contentSize"] == str(place.stat().st_size)
    return entities


@pytest.fixture(scope="session")
def check_crate():
    """Checks a crate against the structure rules and returns its entities."""
    return check
