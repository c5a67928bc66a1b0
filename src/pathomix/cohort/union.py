"""Union of cohorts (pan-cancer): the members' artefacts put together, so that every later stage sees one more cohort.

The class label of a union is the member a patient comes from: its subtype runs are the site classifier of spec
modaltune 6.1, its survival runs the pooled Cox model. A member's own class is kept as `clinical_class_label`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import reduce
from pathlib import Path
from typing import TypeVar

import pandas as pd

from pathomix.cohort.given_splits import GIVEN_SPLITS
from pathomix.cohort.import_log import ImportLog
from pathomix.cohort.matrices import (
    ALTERATIONS,
    expression_scale,
    read_alterations,
    read_expression,
    write_alterations,
    write_expression,
)
from pathomix.cohort.split_audit import audit_path, write_audit
from pathomix.core.errors import PathomixError
from pathomix.core.files import file_digest, write_json, write_text
from pathomix.core.provenance import Provenance
from pathomix.core.schemas import PATIENTS, SLIDES, SPLITS
from pathomix.core.tables import TableSchema, read_table, write_table

_SMALLEST_SHARED = 0.5
T = TypeVar("T")


def unite_cohorts(name: str, members: Mapping[str, str | Path], output_dir: str | Path) -> None:
    """Write the artefacts of a union, the same files that `importer.build_cohort` writes.

    Args:
        name: The union's name.
        members: Member name to the folder with its artefacts; the order is the order of rows.
        output_dir: Folder to write.

    Raises:
        PathomixError: A patient is in two members, members measure expression on different scales or share less than
            half of their genes, or survival endpoints differ.
    """
    folders, log = {member: Path(folder) for member, folder in members.items()}, ImportLog()
    patients = _patients(folders)
    matrices = _matrices(folders, log)
    scale = _one_of({m: expression_scale(f / "expression.h5ad") for m, f in folders.items()}, "expression scales")
    hashes = {f"{m}/{p.name}": file_digest(p) for m, f in folders.items() for p in sorted(f.iterdir()) if p.is_file()}

    def lineage(artifact: str) -> Provenance:
        return Provenance(artifact, inputs=hashes, parameters={"name": name, "members": list(members)})

    output = Path(output_dir)
    write_table(patients, PATIENTS, output / "patients.parquet", lineage("patients"))
    slides = _stacked(folders, "slides.parquet", SLIDES)
    write_table(slides, SLIDES, output / "slides.parquet", lineage("slides"))
    write_expression(output / "expression.h5ad", matrices["expression"], scale, lineage("expression"))
    write_alterations(
        output / "alterations.h5ad", matrices["copy_number"], matrices["mutation"], lineage("alterations")
    )
    pathways = _pathways(folders, matrices["expression"])
    write_json(output / "pathways.json", {"pathways": pathways, "provenance": lineage("pathways").to_dict()})
    given = _stacked(folders, "given_splits.parquet", GIVEN_SPLITS)
    write_table(given, GIVEN_SPLITS, output / "given_splits.parquet", lineage("given_splits"))
    quarantine = log.quarantine_table()
    write_text(output / "quarantine.tsv", quarantine.to_csv(sep="\t", index=False, lineterminator="\n"))
    counts = {"patients": len(patients), "members": patients["class_label"].value_counts().to_dict()}
    report = {"name": name, "counts": counts, "steps": log.steps, "warnings": log.warnings}
    write_json(output / "report.json", {**report, "provenance": lineage("report").to_dict()})


def unite_splits(name: str, members: Mapping[str, str | Path], patients_path: str | Path, output: str | Path) -> None:
    """Splits of a union: every patient keeps the part it has in its member's fold of the same number.

    So a model trained on the union's training part may be evaluated on each member's test part.

    Args:
        name: The union's name.
        members: Member name to its SPLITS table.
        patients_path: PATIENTS table of the union, for the audit written beside the splits.
        output: SPLITS table.

    Raises:
        PathomixError: Members have different folds, or a patient is in two of them.
    """
    frames = {member: read_table(path, SPLITS) for member, path in members.items()}
    _one_of({m: tuple(sorted(frame["fold"].unique())) for m, frame in frames.items()}, "folds")
    _require_distinct({m: frame["patient_id"].drop_duplicates() for m, frame in frames.items()})
    splits = pd.concat(frames.values()).sort_values(["fold", "patient_id"], ignore_index=True)
    write_table(splits, SPLITS, output, Provenance.of("splits", dict(members), {"members": list(members)}))
    write_audit(
        splits, read_table(patients_path, PATIENTS), audit_path(output), name=name,
        parameters={"scheme": "union", "members": list(members)}, summary={},
        inputs={**members, "patients": patients_path},
    )  # fmt: skip


def _patients(folders: Mapping[str, Path]) -> pd.DataFrame:
    frames = []
    for member, folder in folders.items():
        frame = read_table(folder / "patients.parquet", PATIENTS)
        frames.append(frame.assign(clinical_class_label=frame["class_label"], class_label=member))
    _require_distinct({m: frame["patient_id"] for m, frame in zip(folders, frames, strict=True)})
    united = pd.concat(frames, ignore_index=True)
    _one_of({m: tuple(f["endpoint"].unique()) for m, f in zip(folders, frames, strict=True)}, "survival endpoints")
    return united


def _matrices(folders: Mapping[str, Path], log: ImportLog) -> dict[str, pd.DataFrame | None]:
    """Molecular matrices of all members over the genes they share; a member without the modality adds no patient."""
    blocks: dict[str, dict[str, pd.DataFrame]] = {"expression": {}, "copy_number": {}, "mutation": {}}
    for member, folder in folders.items():
        read = {"expression": read_expression(folder / "expression.h5ad")}
        read |= read_alterations(folder / "alterations.h5ad")
        for kind in ("expression", *ALTERATIONS):
            frame = read[kind]
            if frame is not None:
                blocks[kind][member] = frame
    return {kind: _shared(kind, frames, log) if frames else None for kind, frames in blocks.items()}


def _shared(kind: str, frames: Mapping[str, pd.DataFrame], log: ImportLog) -> pd.DataFrame:
    genes = reduce(lambda a, b: a.intersection(b, sort=False), (frame.columns for frame in frames.values()))
    every = len(set().union(*(frame.columns for frame in frames.values())))
    log.step("unite", kind, members=len(frames), shared_genes=len(genes), genes_of_any_member=every)
    # Altered genes differ by disease; genes measured by expression should not.
    if kind == "expression" and len(genes) < _SMALLEST_SHARED * every:
        raise PathomixError(
            f"members share {len(genes)} of {every} genes with measured expression",
            offending=frames,
            remedy="use expression tables of one kind for all members of a union",
        )
    if len(genes) < every:
        log.warn(f"{kind}: {every - len(genes)} of {every} genes are not in all members and are left out")
    return pd.concat([frame[genes] for frame in frames.values()])


def _pathways(folders: Mapping[str, Path], expression: pd.DataFrame | None) -> dict[str, list[str]]:
    """Pathways of any member, each with the genes that any member lists and the union measures."""
    listed: dict[str, dict[str, None]] = {}
    for folder in folders.values():
        pathways = json.loads((folder / "pathways.json").read_text(encoding="utf-8"))["pathways"]
        for pathway, genes in pathways.items():
            listed.setdefault(pathway, {}).update(dict.fromkeys(genes))
    measured = None if expression is None else set(expression.columns)
    kept = {p: [g for g in genes if measured is None or g in measured] for p, genes in listed.items()}
    return {pathway: genes for pathway, genes in kept.items() if genes}


def _stacked(folders: Mapping[str, Path], file: str, schema: TableSchema) -> pd.DataFrame:
    return pd.concat([read_table(folder / file, schema) for folder in folders.values()], ignore_index=True)


def _require_distinct(ids: Mapping[str, pd.Series]) -> None:
    together = pd.concat([pd.Series(list(values)) for values in ids.values()])
    twice = sorted(together[together.duplicated()].unique())
    if twice:
        raise PathomixError(
            f"patients are in more than one of the cohorts {', '.join(ids)}",
            offending=twice,
            remedy="unite cohorts without common patients",
        )


def _one_of(values: Mapping[str, T], what: str) -> T:
    """The value all members agree on."""
    if len(set(values.values())) > 1:
        shown = ", ".join(f"{member}: {value}" for member, value in values.items())
        raise PathomixError(f"the members of a union have different {what} ({shown})", offending=values,
                            remedy="take the odd one out of `union`, or describe its tables alike")  # fmt: skip
    return next(iter(values.values()))
