"""What opens when a number is clicked: runs, configuration, code, inputs up to the sources, how to make it again."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import yaml

from pathomix.core.provenance import Provenance
from pathomix.core.schemas import RUN_INDEX
from pathomix.core.tables import read_provenance, read_table
from pathomix.report.lineage import Lineage, Step
from pathomix.report.render import anchor

_RUNS_SHOWN = 60
AGAIN = "again"
Place = tuple[str, str, str]


@dataclass(frozen=True)
class Panel:
    """Lineage of one row on one cohort.

    Attributes:
        anchor: Its HTML id.
        title: Row and cohort.
        index: Run index below the results folder.
        runs: Folder of each run with the first digits of its predictions' sha256, or why it failed.
        more: Runs not listed.
        provenance: Of the index: code digest and version.
        configuration: Of the row, YAML.
        inputs: What the runs read.
        sources: What that was followed to: files without lineage of their own, and what was not found.
        here: Command that fits the row again from the inputs at hand.
        afresh: Command that makes it from the sources, in another folder.
    """

    anchor: str
    title: str
    index: str
    runs: tuple[tuple[str, str], ...]
    more: int
    provenance: Provenance
    configuration: str
    inputs: tuple[Step, ...]
    sources: tuple[Step, ...]
    here: str
    afresh: str


def panels(
    study: str, rows: pd.DataFrame, results: Path, shown_results: str, lineage: Lineage, command: str
) -> tuple[dict[Place, Panel], list[Step]]:
    """Panels of a study by (row, cohort, scheme), and every step met on the way to the sources.

    Args:
        study: Name of the study.
        rows: Its rows in long form (`tables.read_csv`), both tasks.
        results: Results folder.
        shown_results: Results folder as the configuration writes it, for the commands.
        lineage: Index of the results folder.
        command: Start of a command line that runs the workflow, its configuration included.
    """
    found: dict[Place, Panel] = {}
    steps: dict[str, Step] = {}
    run = rows[rows["source"] == "run"].drop_duplicates(["method", "cohort", "scheme"])
    for method, cohort, scheme, label in run[["method", "cohort", "scheme", "label"]].itertuples(index=False):
        index = results / "runs" / study / method / cohort / f"{scheme}.parquet"
        if not index.is_file():
            continue
        provenance = read_provenance(index)
        traced = lineage.trace(provenance.inputs)
        steps |= {step.digest: step for step in traced}
        shown = index.relative_to(results).as_posix()
        listed = read_table(index, RUN_INDEX)
        again = f"{shown_results}-{AGAIN}"
        target = f"{shown_results}/{shown}"
        folders = [f"{target.removesuffix('.parquet')}-{fold}" for fold in sorted(set(listed["fold"]))]
        found[(method, cohort, scheme)] = Panel(
            f"run-{anchor(study)}-{anchor(method)}-{anchor(cohort)}-{anchor(scheme)}",
            f"{label}, {cohort}",
            shown,
            tuple(_runs(listed))[:_RUNS_SHOWN],
            max(0, len(listed) - _RUNS_SHOWN),
            provenance,
            yaml.safe_dump(dict(provenance.parameters.get("configuration", {})), sort_keys=False, width=90).strip(),
            tuple(traced[: len(set(provenance.inputs.values()))]),
            tuple(step for step in traced if step.artefact is None or not step.artefact.artifact),
            f"rm -r {shlex.join(folders)} && {command} --force -- {shlex.quote(target)}",
            f"{command} --config results={shlex.quote(again)} -- {shlex.quote(f'{again}/{shown}')}",
        )
    return found, list(steps.values())


def _runs(listed: pd.DataFrame) -> Iterable[tuple[str, str]]:
    for row in listed.to_dict("records"):
        folder = f"{row['scheme']}-{row['fold']}/seed{row['seed']}"
        yield folder, str(row["sha256"])[:16] if row["status"] == "done" else f"failed: {row['reason']}"


def artefacts(steps: Sequence[Step]) -> list[Step]:
    """Steps that were found, by what they are and where they lie, each file once."""
    once: Mapping[str, Step] = {step.artefact.digest: step for step in steps if step.artefact}
    return sorted(once.values(), key=lambda step: (step.artefact is not None and step.artefact.path, step.digest))
