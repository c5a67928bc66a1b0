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
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from PIL import Image

from pathomix import __version__
from pathomix.core.errors import PathomixError
from pathomix.core.files import file_digest, write_text
from pathomix.core.schemas import TASKS
from pathomix.core.tables import read_provenance
from pathomix.evaluate.metrics import METRICS
from pathomix.evaluate.oracles import is_oracle
from pathomix.report.cells import ResultsTable
from pathomix.report.certificate import Line, certify, counted, read_cells
from pathomix.report.fidelity import profile_worth, read_profiles
from pathomix.report.galleries import KINDS, checked
from pathomix.report.lineage import Lineage
from pathomix.report.panels import Panel, Place, artefacts, panels
from pathomix.report.render import anchor, html
from pathomix.report.ro_crate import write_crate
from pathomix.report.tables import read_csv, tables_of
from pathomix.report.trust import read_leaks, read_probes
from pathomix.report.verdicts import VERDICTS

_PACKAGES = (
    *("numpy", "scipy", "pandas", "pyarrow", "scikit-learn", "lifelines", "torch", "timm", "tiatoolbox"),
    *("openslide-python", "anndata", "scanpy", "h5py", "matplotlib", "jinja2", "snakemake"),
)
_COLUMN = 4.0  # inches; of a column of the page no more can be read
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
    """A figure with its words, as they travel inside the PNG.

    Attributes:
        name: Of the file.
        title: For those who do not see it.
        description: What stands below it.
        data: URI.
        wide: Whether it was drawn for more than one column: narrower it cannot be read.
    """

    name: str
    title: str
    description: str
    data: str
    wide: bool


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
    """One study as the page shows it; `rows` are those of all its tasks in long form."""

    name: str
    anchor: str
    title: str
    tasks: tuple[Task, ...]
    lineage: Mapping[str, Any]
    rows: pd.DataFrame


@dataclass(frozen=True)
class Reproduction:
    """What the certificate is made from.

    Attributes:
        published: Files of published values.
        others: Files and folders outside the results that artefacts read: descriptions, locks and pins, own tables.
        command: Start of a command line that runs the workflow, its configuration included.
        crate: ``ro-crate-metadata.json`` to write into the results folder; None writes none.
    """

    published: Sequence[Path] = ()
    others: Sequence[Path] = ()
    command: str = "snakemake --cores all"
    crate: Path | None = None


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
    reproduction: Reproduction | None = None,
) -> None:
    """Write the page, and its machine-readable twin where `reproduction` names one.

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
        reproduction: Published values and where results come from.

    Raises:
        PathomixError: A table or figure of a study is not there.
    """
    results = output.parent.parent
    listed = [read_quarantine(path, results) for path in quarantines]
    read = [read_study(study, config) for study in studies]
    asked = reproduction or Reproduction()
    rows = {study.name: study.rows for study in read}
    lines = certify(read_cells(asked.published), config, rows, left_out or {})
    lineage = Lineage.gather(results, asked.others)
    written = str(config.get("results", results.name))
    opened = {s.name: panels(s.name, s.rows, results, written, lineage, asked.command) for s in read}
    steps = list({step.digest: step for _, met in opened.values() for step in met}.values())
    configuration = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True, width=110)
    context = {
        "title": config.get("title", "pathomix"),
        "studies": read,
        "facts": _facts(read),
        "certificate": _grouped(lines),
        "verdicts": [(word, counted(lines).get(word, 0)) for word in VERDICTS],
        "panels": {name: list(found.values()) for name, (found, _) in opened.items()},
        "links": {name: _links(found) for name, (found, _) in opened.items()},
        "artefacts": artefacts(steps),
        "worth": profile_worth(config, rows).to_dict("records"),
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
        "metrics": {name: metric.label for name, metric in METRICS.items()},
        "configuration": configuration,
        "versions": versions,
        "version": __version__,
    }
    write_text(output, html("page.html.j2", context))
    if asked.crate:
        sources = [step for step in steps if step.artefact is None or not step.artefact.artifact]
        files = {output: "The page", **_made(studies)}
        write_crate(asked.crate, context["title"], files, sources, lines, configuration, asked.command)


def _links(found: Mapping[Place, Panel]) -> dict[Place, str]:
    return {place: panel.anchor for place, panel in found.items()}


def _made(studies: Sequence[StudyFiles]) -> dict[Path, str]:
    """Files of the studies that the crate lists."""
    result: dict[Path, str] = {}
    for study in studies:
        result |= {path: f"Table of study {study.name}" for path in sorted(study.tables.iterdir()) if path.is_file()}
        result |= {path: f"Figure of study {study.name}" for path in sorted(study.figures.glob("*.png"))}
        result[study.scores] = f"Scores of study {study.name}"
    return result


def _grouped(lines: Sequence[Line]) -> list[tuple[str, list[Line]]]:
    """Lines of the certificate by file and table."""
    groups: dict[str, list[Line]] = {}
    for line in lines:
        groups.setdefault(f"{Path(line.printed.file).stem}, {line.printed.table}", []).append(line)
    return list(groups.items())


def _facts(studies: Sequence[Study]) -> dict[str, int]:
    """What the page is about, counted over all studies: a cohort in two studies counts once."""
    rows = [row for study in studies for task in study.tasks for row in task.spreads]
    largest: dict[str, int] = {}
    for row in rows:
        largest[row["cohort"]] = max(largest.get(row["cohort"], 0), int(row["n_patients"]))
    methods = {row["method"] for row in rows if not is_oracle(row["method"])}
    return {"cohorts": len(largest), "patients": sum(largest.values()), "methods": len(methods)}


def versions(locks: Sequence[Path]) -> dict[str, str]:
    """Python and the packages that decide numbers, as installed here, or as pinned for other rules.

    Args:
        locks: The locks every environment is made from, `name==version` lines.

    Raises:
        PathomixError: A package is neither installed nor in a lock.
    """
    lines = [line for lock in locks for line in lock.read_text(encoding="utf-8").splitlines()]
    pins = dict(line.lower().split("==", 1) for line in lines if re.fullmatch(r"[\w.-]+==\S+", line))
    found = {"python": platform.python_version(), "pathomix": __version__}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            if package not in pins:
                fact, remedy = "no lock pins a package the page names", "write the locks again: make lock"
                raise PathomixError(fact, offending=[package], remedy=remedy) from None
            found[package] = pins[package]
    return found


def read_study(study: StudyFiles, config: Mapping[str, Any]) -> Study:
    """Tables, figures and lineage of one study."""
    tasks: list[Task] = []
    frames: list[pd.DataFrame] = []
    pictures = [read_figure(path) for path in sorted(study.figures.glob("*.png"))]
    for task in TASKS:
        path = study.tables / f"{task}.csv"
        if not path.is_file():
            remedy = "run make_tables for this study"
            raise PathomixError(f"study {study.name}: {path.name} is not there", remedy=remedy)
        rows = read_csv(path)
        if rows.empty:
            continue
        frames.append(rows)
        tables = tuple(tables_of(rows, task))
        mine = [picture for picture in pictures if picture.name == f"forest_{task}"]
        names = _more_figures(task, list(dict.fromkeys(rows["cohort"])), first=not tasks)
        curves = [picture for picture in pictures if picture.name in names]
        mine += sorted(curves, key=lambda picture: names.index(picture.name))
        if not mine:
            raise PathomixError(f"study {study.name}: no figure of {task}", remedy="run plot_forest for this study")
        tasks.append(Task(task, tables, _spreads(rows[rows["source"] == "run"]), tuple(mine)))
    settings = (config.get("studies") or {}).get(study.name) or {}
    title = settings.get("title") or study.name
    rows = pd.concat(frames, ignore_index=True) if frames else rows
    return Study(study.name, f"study-{anchor(study.name)}", title, tuple(tasks), _lineage(study.scores), rows)


def _more_figures(task: str, cohorts: Sequence[str], first: bool) -> list[str]:
    """Names of the figures that follow the forest, in their order; how rows learnt stands with the first task."""
    names = []
    if task == "survival":
        names += ["calibration", *(f"{kind}_{cohort}" for kind in ("kaplan_meier", "balance") for cohort in cohorts)]
    return names + ([f"training_{cohort}" for cohort in cohorts] if first else [])


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
        wide = "dpi" in words and image.width / words["dpi"][0] > _COLUMN
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    title, description = str(words.get("Title", path.stem)), str(words.get("Description", ""))
    return Figure(path.stem, title, description, f"data:image/png;base64,{data}", wide)


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
