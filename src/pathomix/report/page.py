"""The page a person opens with a double click: one HTML file with everything inside."""

from __future__ import annotations

import base64
import csv
import json
import os
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
import yaml
from PIL import Image

from pathomix import __version__
from pathomix.core.errors import PathomixError
from pathomix.core.files import file_digest, write_text
from pathomix.core.schemas import TASKS
from pathomix.core.tables import read_provenance
from pathomix.evaluate.metrics import METRICS
from pathomix.report.fidelity import read_profiles
from pathomix.report.galleries import KINDS, checked
from pathomix.report.layout import is_oracle
from pathomix.report.tables import ResultsTable, read_csv, tables_of
from pathomix.report.trust import read_leaks, read_probes

_PACKAGES = (
    *("numpy", "scipy", "pandas", "pyarrow", "scikit-learn", "lifelines", "torch", "timm", "tiatoolbox"),
    *("openslide-python", "anndata", "scanpy", "h5py", "matplotlib", "jinja2", "snakemake"),
)
_QUARANTINE_SHOWN = 200


@dataclass(frozen=True)
class StudyFiles:
    """Where the pieces of one study lie."""

    name: str
    tables: Path
    figures: Path
    scores: Path


@dataclass(frozen=True)
class Figure:
    """A figure with its words, as they travel inside the PNG."""

    name: str
    title: str
    description: str
    data: str


@dataclass(frozen=True)
class Quarantine:
    """One quarantine list."""

    source: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    total: int


@dataclass(frozen=True)
class Task:
    """One task of a study: its tables, its rows in long form, its figures."""

    name: str
    tables: tuple[ResultsTable, ...]
    spreads: tuple[dict[str, Any], ...]
    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class Study:
    """One study as the page shows it."""

    name: str
    anchor: str
    title: str
    tasks: tuple[Task, ...]
    lineage: Mapping[str, Any]


def write_report(
    studies: Sequence[StudyFiles],
    config: Mapping[str, Any],
    quarantines: Sequence[Path],
    oracles: Sequence[Path],
    versions: Mapping[str, str],
    output: Path,
    *,
    left_out: Mapping[str, str] | None = None,
    profiles: Path | None = None,
    probes: Sequence[Path] = (),
    leaks: Sequence[Path] = (),
    galleries: Mapping[str, Sequence[Path]] | None = None,
) -> None:
    """Write the page.

    Args:
        studies: Tables, figures and scores of each study, in the order of the page.
        config: The configuration of the run.
        quarantines: Tab-separated lists with a column `reason`; empty lists are counted, not shown.
        oracles: ``oracle.json`` files of simulated cohorts; the cohort is the name of the folder.
        versions: Package to version.
        output: ``report/index.html`` below the results folder.
        left_out: Row of the configuration to the reason why it was not run.
        profiles: Table of the fidelity profiles (`fidelity.write_profiles`).
        probes: Tables of site probes (SITE_PROBE).
        leaks: Tables of declared leaks, one per study.
        galleries: Figures ``<name>/<figure>.png`` that belong to no study, by kind (`galleries.KINDS`).

    Raises:
        PathomixError: A table or figure of a study is not there.
    """
    results = output.parent.parent
    listed = [read_quarantine(path, results) for path in quarantines]
    read = [read_study(study, config) for study in studies]
    context = {
        "title": config.get("title", "pathomix"),
        "studies": read,
        "facts": _facts(read),
        "quarantines": [item for item in listed if item.total],
        "clean": [item.source for item in listed if not item.total],
        "oracles": read_oracles(oracles),
        "left_out": dict(left_out or {}),
        "profiles": read_profiles(profiles) if profiles else [],
        "probes": read_probes(probes),
        "leaks": read_leaks(leaks),
        "galleries": [
            (kind, KINDS[kind], [(path.parent.name, read_figure(path)) for path in paths])
            for kind, paths in checked(galleries or {}).items()
        ],
        "configuration": yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True, width=110),
        "versions": versions,
        "version": __version__,
        "css": (files("pathomix.report") / "templates" / "page.css").read_text(encoding="utf-8"),
    }
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pathomix.report", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["anchor"] = anchor
    environment.filters["number"] = _number
    write_text(output, environment.get_template("page.html.j2").render(context))


def _facts(studies: Sequence[Study]) -> dict[str, int]:
    """What the page is about, counted over all studies: a cohort in two studies counts once."""
    rows = [row for study in studies for task in study.tasks for row in task.spreads]
    largest: dict[str, int] = {}
    for row in rows:
        largest[row["cohort"]] = max(largest.get(row["cohort"], 0), int(row["n_patients"]))
    methods = {row["method"] for row in rows if not is_oracle(row["method"])}
    return {"cohorts": len(largest), "patients": sum(largest.values()), "methods": len(methods)}


def anchor(text: str) -> str:
    """A text as an HTML id."""
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-").lower()


def _number(value: float | None) -> str:
    return "" if value is None or pd.isna(value) else f"{value:.3f}"


def installed_versions() -> dict[str, str]:
    """Python and the packages that decide numbers, as installed here."""
    found = {"python": platform.python_version(), "pathomix": __version__}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not in this environment"
    return found


def read_study(study: StudyFiles, config: Mapping[str, Any]) -> Study:
    """Tables, figures and lineage of one study."""
    tasks = []
    pictures = [read_figure(path) for path in sorted(study.figures.glob("*.png"))]
    for task in TASKS:
        path = study.tables / f"{task}.csv"
        if not path.is_file():
            remedy = "run make_tables for this study"
            raise PathomixError(f"study {study.name}: {path.name} is not there", remedy=remedy)
        rows = read_csv(path)
        if rows.empty:
            continue
        tables = tuple(tables_of(rows, task))
        mine = [picture for picture in pictures if picture.name == f"forest_{task}"]
        if task == "survival":
            cohorts = list(dict.fromkeys(rows["cohort"]))
            names = [f"{kind}_{cohort}" for kind in ("kaplan_meier", "balance") for cohort in cohorts]
            order = {name: place for place, name in enumerate(names)}
            curves = [picture for picture in pictures if picture.name in order]
            mine += sorted(curves, key=lambda picture: order[picture.name])
        if not mine:
            raise PathomixError(f"study {study.name}: no figure of {task}", remedy="run plot_forest for this study")
        tasks.append(Task(task, tables, _spreads(rows[rows["source"] == "run"]), tuple(mine)))
    settings = (config.get("studies") or {}).get(study.name) or {}
    title = settings.get("title") or study.name
    return Study(study.name, f"study-{anchor(study.name)}", title, tuple(tasks), _lineage(study.scores))


def _spreads(rows: pd.DataFrame) -> tuple[dict[str, Any], ...]:
    labels = {name: metric.label for name, metric in METRICS.items()}
    records = rows.assign(metric=rows["metric"].map(labels)).to_dict("records")
    return tuple({str(name): value for name, value in row.items()} for row in records)


def _lineage(scores: Path) -> dict[str, Any]:
    provenance = read_provenance(scores)
    return {
        "indices": len(provenance.inputs),
        "parameters": dict(provenance.parameters),
        "version": provenance.version,
        "sha256": file_digest(scores),
    }


def read_figure(path: Path) -> Figure:
    """A PNG written by `report.style.save`, as a data URI."""
    with Image.open(path) as image:
        words = dict(image.info)
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    title, description = str(words.get("Title", path.stem)), str(words.get("Description", ""))
    return Figure(path.stem, title, description, f"data:image/png;base64,{data}")


def read_quarantine(path: Path, results: Path) -> Quarantine:
    """A quarantine list with its place below the results folder; the reason comes last."""
    with path.open(encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream, delimiter="\t")
        names = tuple(reader.fieldnames or ())
        columns = (*(name for name in names if name != "reason"), *(name for name in names if name == "reason"))
        rows = [tuple(row[name] or "" for name in columns) for row in reader]
    source = os.path.relpath(path, results)
    return Quarantine(source, columns, tuple(rows[:_QUARANTINE_SHOWN]), len(rows))


def read_oracles(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Per simulated cohort what the truth, whole and in parts, reaches."""
    found = []
    for path in paths:
        content = json.loads(path.read_text(encoding="utf-8"))
        found.append({"cohort": path.parent.name, "patients": content["patients"], "values": content["concordance"]})
    return found
