"""Reading the cohort artefacts back as `Cases`."""

from __future__ import annotations

import json
from pathlib import Path

from pathomix.cohort.cases import CASE_FILES, Cases, TileStore
from pathomix.cohort.matrices import read_alterations, read_expression
from pathomix.core.errors import PathomixError
from pathomix.core.schemas import PATIENTS
from pathomix.core.tables import read_table


def load_cases(cohort_dir: str | Path, *, tiles: TileStore | None = None) -> Cases:
    """Patients and molecular matrices of one cohort.

    Args:
        cohort_dir: Folder written by `build_cohort`.
        tiles: Tile features of the cohort's slides.

    Raises:
        PathomixError: An artefact is absent or damaged.
    """
    folder = Path(cohort_dir)
    absent = [name for name in CASE_FILES if not (folder / name).is_file()]
    if absent:
        raise PathomixError(f"{folder}: files are missing", offending=absent, remedy="run the rule build_cohort")
    alterations = read_alterations(folder / "alterations.h5ad")
    pathways = json.loads((folder / "pathways.json").read_text(encoding="utf-8"))["pathways"]
    return Cases(
        patients=read_table(folder / "patients.parquet", PATIENTS).set_index("patient_id"),
        expression=read_expression(folder / "expression.h5ad"),
        copy_number=alterations["copy_number"],
        mutation=alterations["mutation"],
        pathways={name: tuple(genes) for name, genes in pathways.items()},
        tiles=tiles,
    )
