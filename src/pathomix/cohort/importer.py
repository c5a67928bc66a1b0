"""From raw tables to the cohort artefacts: one importer for simulated and for users' tables."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pathomix.cohort.classes import read_class_definition
from pathomix.cohort.clinical import Keyed, patients_table
from pathomix.cohort.description import (
    LOCKS,
    Description,
    input_paths,
    lock_files,
    read_description,
    symbols_path,
)
from pathomix.cohort.endpoints import recommended_endpoint
from pathomix.cohort.given_splits import GIVEN_SPLITS, given_splits
from pathomix.cohort.import_log import ImportLog
from pathomix.cohort.matrices import write_alterations, write_expression
from pathomix.cohort.molecular import block_matrix, block_positions
from pathomix.cohort.raw import RawTable, joined, keyed_rows, read_raw
from pathomix.cohort.samples import Renamer, samples_of_columns, samples_of_files
from pathomix.cohort.slide_lock import lock_spec, read_slide_lock
from pathomix.cohort.slide_table import no_slides, slides_table
from pathomix.cohort.specs import RECOMMENDED, TableSpec
from pathomix.core.errors import PathomixError
from pathomix.core.files import file_digest, write_json, write_text
from pathomix.core.provenance import Provenance
from pathomix.core.schemas import PATIENTS, SLIDES
from pathomix.core.tables import write_table

Pathways = Mapping[str, tuple[str, ...]]
# (file, format, measured genes, table of aliases) -> pathways restricted to measured genes, and their coverage. Handed
# in, because the readers belong to the genomics room.
GeneSetReader = Callable[[Path, str, Collection[str], Renamer | None], tuple[Pathways, Mapping[str, Any]]]


@dataclass(frozen=True)
class GeneTools:
    """What the genomics room does for an import; handed in, because rooms of one floor do not know each other.

    Attributes:
        read_sets: One file of gene sets, restricted to measured genes.
        read_aliases: A table of aliases.
        select_sets: Sets of several GMT files: (files, parameters of the selection, membership table with the wanted
            ones, measured genes, table of aliases) -> sets and their report.
    """

    read_sets: GeneSetReader
    read_aliases: Callable[[Path], Renamer]
    select_sets: Callable[
        [Sequence[Path], Mapping[str, Any], Path | None, Collection[str], Renamer | None],
        tuple[Pathways, Mapping[str, Any]],
    ]


def build_cohort(
    name: str,
    description_path: str | Path,
    root: str | Path,
    output_dir: str | Path,
    *,
    read_gene_sets: GeneSetReader | None = None,
    genes: GeneTools | None = None,
    endpoint: str | None = None,
    repository: str | Path = ".",
    locks: str | Path = LOCKS,
) -> None:
    """Import one cohort and write its artefacts into `output_dir`.

    Args:
        name: Cohort name; fills ``{name}`` in the description's paths.
        description_path: The YAML description.
        root: Folder the description's paths are relative to.
        output_dir: Receives patients.parquet, slides.parquet, expression.h5ad, alterations.h5ad, pathways.json,
            given_splits.parquet, quarantine.tsv and report.json.
        read_gene_sets: Reader of pathway files, where `genes` is not given.
        genes: Readers of gene sets and aliases.
        endpoint: Survival endpoint; None takes the description's default.
        repository: Folder that class definitions and recommended endpoints are relative to.
        locks: Folder of the slide locks, absolute or relative to the repository.

    Raises:
        PathomixError: The description or a table cannot be understood; nothing is written then.
    """
    description, log = read_description(description_path), ImportLog()
    inputs = input_paths(description, name, root, repository=repository, locks=locks)
    absent = [label for label, path in inputs.items() if not path.is_file()]
    if absent:
        raise PathomixError(
            f"{description_path}: files are not under {root}", offending=absent,
            remedy="check `path` and --root; files of the TCGA descriptions come from the acquisition rules",
        )  # fmt: skip
    source = _Source(name, description, Path(root), inputs, genes, read_gene_sets, log)
    tables, positions = source.tables()
    label = description.class_label
    classes = read_class_definition(inputs[label.file]) if label is not None and label.file is not None else None
    chosen = _endpoint(description, endpoint, repository, log)
    patients = PATIENTS.validate(patients_table(description, tables, chosen, log, classes), name)
    cohort = pd.Index(patients["patient_id"])
    matrices = source.matrices(tables, positions, cohort)
    imported = _Imported(
        patients=patients,
        slides=SLIDES.validate(source.slides(tables, cohort), name),
        matrices=matrices,
        scale=description.molecular.expression.scale if description.molecular.expression else "none",
        pathways=source.pathways(matrices),
        splits=given_splits(description, name, source.root, cohort, log),
    )
    hashes = {label: file_digest(path) for label, path in inputs.items()}
    hashes["description"] = file_digest(description_path)
    _write(imported, log, Path(output_dir), hashes, {"name": name, "endpoint": str(patients["endpoint"].iloc[0])})


def _endpoint(description: Description, chosen: str | None, repository: str | Path, log: ImportLog) -> str | None:
    """The endpoint asked for; `recommended` becomes the one of the curated resource."""
    survival = description.survival
    if survival is None or survival.recommended is None or (chosen or survival.default_endpoint) != RECOMMENDED:
        return chosen
    found = recommended_endpoint(survival.recommended, repository)
    log.step("endpoint", survival.recommended.file, recommended=found, projects=list(survival.recommended.projects))
    return found


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


@dataclass(frozen=True)
class _Source:
    """A description and the files it reads."""

    name: str
    description: Description
    root: Path
    inputs: Mapping[str, Path]
    genes: GeneTools | None
    read_gene_sets: GeneSetReader | None
    log: ImportLog

    def tables(self) -> tuple[dict[str, Keyed], dict[str, tuple[str, list[int]]]]:
        """The named tables, and per molecular block inside one of them its table and column positions."""
        tables: dict[str, Keyed] = {}
        positions: dict[str, tuple[str, list[int]]] = {}
        for table, spec in self.description.tables.items():

            def numeric(columns: tuple[str, ...], table: str = table) -> Collection[int]:
                found = block_positions(self.description, table, columns)
                positions.update({kind: (table, places) for kind, places in found.items()})
                return {place for places in found.values() for place in places}

            files = []
            for part, file in spec.files(self.name).items():
                raw = read_raw(self.root / file, file, spec.missing, spec.records, numeric, spec.format)
                files.append(self._checked(table, spec, raw, part))
            tables[table] = Keyed(*keyed_rows(joined(files), spec, self.description.id, self.log))
        return tables, positions

    def _checked(self, table: str, spec: TableSpec, raw: RawTable, part: str) -> RawTable:
        """One file of a table, with the columns that are read there; what it may lack is added as missing."""
        if spec.part_column is not None:
            raw = raw.with_column(spec.part_column, part)
        for column in sorted(self.description.table_columns()[table] - set(raw.columns)):
            if spec.optional is None and not spec.parts:
                continue
            # In one of several files a column that has changed its name would otherwise become missing values.
            if spec.optional is not None and column not in spec.optional:
                raise PathomixError(
                    f"{raw.label}: there is no column {column!r}", offending=raw.near(column),
                    remedy="these are near: name the right one, or list it in the table's `optional`",
                )  # fmt: skip
            self.log.warn(f"{raw.label}: there is no column {column!r}; its values are missing")
            raw = raw.with_column(column, None)
        return raw

    def _renamer(self) -> Renamer | None:
        if self.description.molecular.symbols is None:
            return None
        if self.genes is None:
            raise ValueError("the description has `molecular.symbols`, which needs `genes`")
        return self.genes.read_aliases(self.inputs[symbols_path(self.description, self.name)])

    def matrices(
        self, tables: Mapping[str, Keyed], positions: Mapping[str, tuple[str, list[int]]], cohort: pd.Index
    ) -> dict[str, pd.DataFrame]:
        """The molecular blocks, by kind."""
        result, renamer, description, log = {}, self._renamer(), self.description, self.log
        for kind, spec in description.blocks().items():
            if spec.path is not None:
                samples = samples_of_files(kind, spec, description, self.name, self.root, cohort, log, renamer)
            else:
                table, places = positions[kind]
                column = description.tables[table].id
                samples = samples_of_columns(kind, spec, tables[table], column, places, cohort, log, renamer)
            result[kind] = block_matrix(kind, spec, samples, log)
        return result

    def slides(self, tables: Mapping[str, Keyed], cohort: pd.Index) -> pd.DataFrame:
        """The slide list, from a table or a lock."""
        spec = self.description.slides
        if spec is None:
            return no_slides()
        if spec.table is not None:
            return slides_table(spec, tables[spec.table], cohort, self.name, self.log)
        label = f"locks/{lock_files(self.description, self.name)[0]}"
        keyed = Keyed(*read_slide_lock(self.inputs[label], label, self.description.id, self.log))
        return slides_table(lock_spec(spec), keyed, cohort, self.name, self.log)

    def pathways(self, matrices: Mapping[str, pd.DataFrame]) -> Pathways:
        """The gene sets, restricted to measured genes."""
        spec = self.description.pathways
        if spec is None:
            return {}
        # Pathways summarise expression; a cohort without it still has its altered genes in them.
        used = [matrices["expression"]] if "expression" in matrices else list(matrices.values())
        measured = {gene for frame in used for gene in frame.columns}
        labels = spec.files(self.name)
        if spec.path is not None:
            read = self.genes.read_sets if self.genes is not None else self.read_gene_sets
            if read is None:
                raise ValueError("the description has `pathways`, which needs `genes` or `read_gene_sets`")
            pathways, coverage = read(self.inputs[labels[0]], str(spec.format), measured, self._renamer())
        else:
            if self.genes is None:
                raise ValueError("the description has `pathways.gmt`, which needs `genes`")
            wanted = spec.wanted(self.name)
            pathways, coverage = self.genes.select_sets(
                [self.inputs[label] for label in labels],
                spec.select.model_dump(exclude={"like"}) if spec.select else {},
                self.inputs[wanted] if wanted else None,
                measured,
                self._renamer(),
            )
        self.log.step("pathways", ", ".join(labels), **coverage)
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
