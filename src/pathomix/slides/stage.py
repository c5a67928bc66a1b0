"""What the slide stages share: parameters from JSON, the loop over slides, content keys and index tables."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from pathomix.core.errors import PathomixError
from pathomix.core.provenance import Provenance
from pathomix.core.schemas import SLIDE_INDEX
from pathomix.core.tables import read_table, write_table

log = logging.getLogger(__name__)

Parameters = TypeVar("Parameters")
Row = Mapping[str, Any]


def parameters_from(kind: type[Parameters], content: Mapping[str, Any], section: str) -> Parameters:
    """Build a parameter dataclass from JSON.

    Raises:
        PathomixError: An unknown key, or one missing that has no default.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(content) - set(fields))
    if unknown:
        raise PathomixError(f"unknown keys in {section}", offending=unknown, remedy=f"known are {sorted(fields)}")
    required = [
        name
        for name, field in fields.items()
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    missing = sorted(set(required) - set(content))
    if missing:
        raise PathomixError(f"keys are missing in {section}", offending=missing, remedy="add them to the configuration")
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in content.items()})


def slide_path(row: Row, root: Path) -> Path:
    """Path of a slide: absolute as it is, else below `root`."""
    return root / str(row["path"])


def given(row: Row, column: str) -> Any:
    """A table value, None where it is missing."""
    value = row[column]
    return None if pd.isna(value) else value


def slide_folder(results: Path, slide_id: str) -> Path:
    """Folder of a slide's files.

    Raises:
        PathomixError: The id cannot name a folder.
    """
    if not slide_id or Path(slide_id).name != slide_id or slide_id.startswith("."):
        raise PathomixError(f"the slide id {slide_id!r} cannot name a folder", remedy="use letters, digits, . _ and -")
    return results / "slides" / slide_id


def coords_path(results: Path, slide_id: str, tiling: str) -> Path:
    """Coordinate file of a slide under one tiling (`pathomix.slides.tilings.tiling_name`)."""
    return slide_folder(results, slide_id) / f"{tiling}.coords.h5"


def run_stage(
    stage: str, rows: Iterable[Row], work: Callable[[Row], dict[str, Any]], discard: Callable[[Row], Iterable[Path]]
) -> pd.DataFrame:
    """Run one stage over slides; a slide that cannot be done is quarantined and the others go on.

    Args:
        stage: Name that stands before the reason.
        rows: Slides; one that an earlier stage quarantined (column `status`) is carried on as it is.
        work: Does one slide, returns its columns of SLIDE_INDEX.
        discard: The stage's files of a slide: removed on quarantine, so that none of an earlier run is mistaken.

    Returns:
        SLIDE_INDEX columns, one row per slide.
    """
    result = []
    for row in rows:
        base = {**dict.fromkeys(SLIDE_INDEX.columns), "slide_id": row["slide_id"], "patient_id": row["patient_id"]}
        if row.get("status") == "quarantined":
            record = {**base, "status": "quarantined", "reason": row["reason"]}
        else:
            try:
                record = {**base, **work(row), "status": "done"}
            except PathomixError as error:
                log.warning("%s: quarantined at %s: %s", row["slide_id"], stage, error)
                record = {**base, "status": "quarantined", "reason": f"{stage}: {error}"}
        if record["status"] == "quarantined":
            _remove(row, discard)
        result.append(record)
    frame = pd.DataFrame(result, columns=list(SLIDE_INDEX.columns))
    log.info(
        "%s: %d slides done, %d quarantined", stage, *((frame["status"] == s).sum() for s in ("done", "quarantined"))
    )
    return frame


def _remove(row: Row, discard: Callable[[Row], Iterable[Path]]) -> None:
    try:
        paths = list(discard(row))
    except PathomixError:  # an id that cannot name a folder has no files
        return
    for path in paths:
        path.unlink(missing_ok=True)


def write_index(
    frame: pd.DataFrame, path: Path, artifact: str, inputs: Mapping[str, Path], parameters: Mapping[str, Any]
) -> None:
    """Write a SLIDE_INDEX table with its lineage."""
    write_table(frame, SLIDE_INDEX, path, Provenance.of(artifact, dict(inputs), parameters))


def joined_rows(index: Path, slides: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of an index, with `path` that of the slide.

    Raises:
        PathomixError: The index names a slide that the slide table lacks.
    """
    frame = read_table(index, SLIDE_INDEX)
    files = slides.set_index("slide_id")["path"]
    unknown = frame.loc[~frame["slide_id"].isin(files.index), "slide_id"]
    if len(unknown):
        raise PathomixError(
            f"{index}: slides that the slide table does not have",
            offending=unknown,
            remedy="run the earlier stage again",
        )
    frame["path"] = frame["slide_id"].map(files)
    return [{str(key): value for key, value in record.items()} for record in frame.to_dict("records")]
