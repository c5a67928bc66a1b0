"""From raw tables to the cohort artefacts: one importer for simulated and for users' tables."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pathomix.cohort.clinical import Keyed, patients_table
from pathomix.cohort.description import Description, fill, input_paths, read_description
from pathomix.cohort.given_splits import GIVEN_SPLITS, given_splits
from pathomix.cohort.import_log import ImportLog
from pathomix.cohort.matrices import write_alterations, write_expression
from pathomix.cohort.molecular import (
    block_matrix,
    block_positions,
    matrix_columns,
    samples_of_columns,
    samples_of_matrix,
)
from pathomix.cohort.raw import joined, keyed_rows, read_raw
from pathomix.cohort.slide_table import no_slides, slides_table
from pathomix.core.errors import PathomixError
from pathomix.core.files import file_digest, write_json, write_text
from pathomix.core.provenance import Provenance
from pathomix.core.schemas import PATIENTS, SLIDES
from pathomix.core.tables import write_table

Pathways = Mapping[str, tuple[str, ...]]
# (file, format, measured genes) -> pathways restricted to measured genes, and their coverage. Handed in, because
# the readers belong to the genomics room.
GeneSetReader = Callable[[Path, str, Collection[str]], tuple[Pathways, Mapping[str, Any]]]


def build_cohort(
    name: str,
    description_path: str | Path,
    root: str | Path,
    output_dir: str | Path,
    *,
    read_gene_sets: GeneSetReader,
    endpoint: str | None = None,
) -> None:
    """Import one cohort and write its artefacts into `output_dir`.

    Args:
        name: Cohort name; fills ``{name}`` in the description's paths.
        description_path: The YAML description.
        root: Folder the description's paths are relative to.
        output_dir: Receives patients.parquet, slides.parquet, expression.h5ad, alterations.h5ad, pathways.json,
            given_splits.parquet, quarantine.tsv and report.json.
        read_gene_sets: Reader of pathway files.
        endpoint: Survival endpoint; None takes the description's default.

    Raises:
        PathomixError: The description or a table cannot be understood; nothing is written then.
    """
    description, root, output = read_description(description_path), Path(root), Path(output_dir)
    log = ImportLog()
    inputs = input_paths(description, name, root)
    absent = [label for label, path in inputs.items() if not path.is_file()]
    if absent:
        raise PathomixError(
            f"{description_path}: files are not under {root}", offending=absent, remedy="check `path` and --root"
        )
    tables, positions = _open_tables(description, name, root, log)
    patients = PATIENTS.validate(patients_table(description, tables, endpoint, log), name)
    cohort = pd.Index(patients["patient_id"])
    matrices = _matrices(description, tables, positions, name, root, cohort, log)
    spec = description.slides
    slides = no_slides() if spec is None else slides_table(spec, tables[spec.table], cohort, name, log)
    imported = _Imported(
        patients=patients,
        slides=SLIDES.validate(slides, name),
        matrices=matrices,
        scale=description.molecular.expression.scale if description.molecular.expression else "none",
        pathways=_pathways(description, name, root, matrices, read_gene_sets, log),
        splits=given_splits(description, name, root, cohort, log),
    )
    hashes = {label: file_digest(path) for label, path in inputs.items()}
    hashes["description"] = file_digest(description_path)
    _write(imported, log, output, hashes, {"name": name, "endpoint": str(patients["endpoint"].iloc[0])})


@dataclass(frozen=True)
class _Imported:
    """Everything the import understood, before a byte of it is written."""

    patients: pd.DataFrame
    slides: pd.DataFrame
    matrices: Mapping[str, pd.DataFrame]
    scale: str
    pathways: Pathways
    splits: pd.DataFrame


def _write(
    imported: _Imported, log: ImportLog, output: Path, hashes: Mapping[str, str], parameters: Mapping[str, str]
) -> None:
    def lineage(artifact: str) -> Provenance:
        return Provenance(artifact, inputs=hashes, parameters=parameters)

    matrices = imported.matrices
    write_table(imported.patients, PATIENTS, output / "patients.parquet", lineage("patients"))
    write_table(imported.slides, SLIDES, output / "slides.parquet", lineage("slides"))
    write_expression(output / "expression.h5ad", matrices.get("expression"), imported.scale, lineage("expression"))
    alterations = (matrices.get("copy_number"), matrices.get("mutation"))
    write_alterations(output / "alterations.h5ad", *alterations, lineage("alterations"))
    pathways = {pathway: list(genes) for pathway, genes in imported.pathways.items()}
    write_json(output / "pathways.json", {"pathways": pathways, "provenance": lineage("pathways").to_dict()})
    write_table(imported.splits, GIVEN_SPLITS, output / "given_splits.parquet", lineage("given_splits"))
    quarantine = log.quarantine_table()
    write_text(output / "quarantine.tsv", quarantine.to_csv(sep="\t", index=False, lineterminator="\n"))
    report = {
        **parameters,
        "counts": _counts(imported, quarantine),
        "steps": log.steps,
        "warnings": log.warnings,
        "provenance": lineage("report").to_dict(),
    }
    write_json(output / "report.json", report)


def _open_tables(
    description: Description, name: str, root: Path, log: ImportLog
) -> tuple[dict[str, Keyed], dict[str, tuple[str, list[int]]]]:
    """The named tables, and per molecular block inside one of them its table and column positions."""
    tables: dict[str, Keyed] = {}
    positions: dict[str, tuple[str, list[int]]] = {}
    for table, spec in description.tables.items():

        def numeric(columns: tuple[str, ...], table: str = table) -> Collection[int]:
            found = block_positions(description, table, columns)
            positions.update({kind: (table, places) for kind, places in found.items()})
            return {place for places in found.values() for place in places}

        files = [read_raw(root / file, file, spec.missing, spec.records, numeric) for file in spec.files(name)]
        raw = joined(files)
        tables[table] = Keyed(*keyed_rows(raw, spec, description.id, log))
    return tables, positions


def _matrices(
    description: Description,
    tables: Mapping[str, Keyed],
    positions: Mapping[str, tuple[str, list[int]]],
    name: str,
    root: Path,
    cohort: pd.Index,
    log: ImportLog,
) -> dict[str, pd.DataFrame]:
    result = {}
    for kind, spec in description.blocks().items():
        if spec.path is not None:
            label = fill(spec.path, f"molecular.{kind}.path", name=name)
            raw = read_raw(root / label, label, numeric=matrix_columns)
            samples = samples_of_matrix(raw, spec, description, log)
        else:
            table, places = positions[kind]
            samples = samples_of_columns(tables[table], description.tables[table].id, spec, places)
        result[kind] = block_matrix(kind, spec, samples, cohort, log)
    return result


def _pathways(
    description: Description,
    name: str,
    root: Path,
    matrices: Mapping[str, pd.DataFrame],
    read_gene_sets: GeneSetReader,
    log: ImportLog,
) -> Pathways:
    spec = description.pathways
    if spec is None:
        return {}
    # Pathways summarise expression; a cohort without it still has its altered genes in them.
    used = [matrices["expression"]] if "expression" in matrices else list(matrices.values())
    measured = {gene for frame in used for gene in frame.columns}
    label = fill(spec.path, "pathways.path", name=name)
    pathways, coverage = read_gene_sets(root / label, spec.format, measured)
    log.step("pathways", label, **coverage)
    return pathways


def _counts(imported: _Imported, quarantine: pd.DataFrame) -> dict[str, Any]:
    patients, slides = imported.patients, imported.slides
    classes = patients["class_label"].value_counts()
    return {
        "patients": len(patients),
        "with_outcome": int(patients["event"].notna().sum()),
        "events": int(patients["event"].sum()),
        "classes": {str(label): int(count) for label, count in classes.items()},
        "slides": len(slides),
        "patients_with_slides": int(slides["patient_id"].nunique()),
        **{kind: {"patients": len(f), "genes": f.shape[1]} for kind, f in imported.matrices.items()},
        "pathways": len(imported.pathways),
        "quarantined": len(quarantine),
    }
