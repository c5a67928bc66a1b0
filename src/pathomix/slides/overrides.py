"""Corrections for single slides that no rule gets right: a table a person writes, honoured by the tissue stage."""

from __future__ import annotations

import csv
import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pathomix.core.errors import PathomixError

COLUMNS = ("slide_id", "mpp", "masker", "exclude", "note")


@dataclass(frozen=True)
class Override:
    """What the table says about one slide.

    Attributes:
        mpp: µm per pixel of level 0, in place of every other source.
        masker: Tissue masker in place of the configured one.
        exclude: Reason to leave the slide out.
        note: For people only.
    """

    mpp: float | None = None
    masker: str | None = None
    exclude: str | None = None
    note: str | None = None

    @property
    def changes(self) -> dict[str, float | str]:
        """What it changes about the outcome, for the slide's key and its quality report."""
        pairs = (("mpp", self.mpp), ("masker", self.masker), ("exclude", self.exclude))
        return {name: value for name, value in pairs if value is not None}


def read_overrides(path: Path) -> dict[str, Override]:
    """Overrides by slide id from a tab-separated table with the header ``slide_id mpp masker exclude note``.

    Columns but `slide_id` may be left out, and cells left empty.

    Raises:
        PathomixError: No such file, unknown or missing columns, a slide twice, an mpp that is no positive number, or
            a row that changes nothing.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, delimiter="\t")
            header = next(reader, [])
            rows = [row for row in reader if any(cell.strip() for cell in row)]
    except (OSError, UnicodeDecodeError) as error:
        remedy = "correct slides.overrides: a UTF-8 table separated by tabs"
        raise PathomixError(f"{path}: cannot be read ({error})", remedy=remedy) from error
    _check_header(path, header)
    found: dict[str, Override] = {}
    for number, row in enumerate(rows, start=2):
        if len(row) > len(header):
            raise PathomixError(f"{path}, line {number}: more cells than columns", remedy="separate cells by one tab")
        cells = {name: cell.strip() for name, cell in zip(header, row, strict=False)}
        slide, override = cells["slide_id"], _override(path, cells)
        if not slide:
            raise PathomixError(f"{path}, line {number}: no slide_id", remedy="name the slide or remove the line")
        if slide in found:
            raise PathomixError(f"{path}: a slide stands twice", offending=[slide], remedy="keep one line per slide")
        found[slide] = override
    return found


def _check_header(path: Path, header: list[str]) -> None:
    unknown = [name for name in header if name not in COLUMNS]
    remedy = f"the header is {' '.join(COLUMNS)}, separated by tabs"
    if unknown or len(set(header)) != len(header):
        raise PathomixError(f"{path}: unknown or repeated columns", offending=unknown or header, remedy=remedy)
    if "slide_id" not in header:
        raise PathomixError(f"{path}: no column slide_id", remedy=remedy)


def _override(path: Path, cells: Mapping[str, str]) -> Override:
    slide, text = cells["slide_id"], cells.get("mpp") or None
    mpp = None
    if text is not None:
        try:
            mpp = float(text)
        except ValueError:
            mpp = math.nan
        if not (math.isfinite(mpp) and mpp > 0):
            remedy = "give µm per pixel of level 0, with a point"
            raise PathomixError(f"{path}: mpp {text!r} of {slide} is no positive number", remedy=remedy)
    result = Override(mpp, *(cells.get(name) or None for name in ("masker", "exclude", "note")))
    if not result.changes:
        remedy = "fill mpp, masker or exclude, or remove the line"
        raise PathomixError(f"{path}: a line changes nothing", offending=[slide], remedy=remedy)
    return result


def check_known(overrides: Mapping[str, Override], slides: Iterable[str], path: Path) -> None:
    """Every slide of the table has to exist: a mistyped id would silently correct nothing.

    Raises:
        PathomixError: Slides that no slide table has; the nearest names are given.
    """
    known = sorted(set(slides))
    unknown = [slide for slide in overrides if slide not in set(known)]
    if not unknown:
        return
    near = difflib.get_close_matches(unknown[0], known, n=3, cutoff=0.6)
    hint = f" ({unknown[0]}: did you mean {', '.join(near)}?)" if near else ""
    raise PathomixError(
        f"{path}: slides that no slide table has{hint}", offending=unknown, remedy="correct the column slide_id"
    )
