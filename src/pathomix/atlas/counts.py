"""Where an atlas keeps its counts: found, recovered from normalised counts, or refused (spec path_gptomic 2.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pathomix.atlas.parameters import AtlasParameters
from pathomix.atlas.reader import AtlasFile, Chunk
from pathomix.core.errors import PathomixError

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Floats = NDArray[np.float64]

COUNTS, LOGARITHMS, MULTIPLES = "counts", "log1p of normalised counts", "normalised counts"
_RECOVERABLE = (LOGARITHMS, MULTIPLES)
# Declared by the user, whose counts are not asked for.
_LOG_NORMALISED, _LINEAR = "log_normalised", "linear"
_SEARCHED = ("raw", "X", "layers/counts")
# Relative error of a value that went through a few float32 operations.
_FLOAT32 = 2.0**-22
# Half a unit of the last decimal of tables that were rounded: not at all, to four decimals, to three.
_ROUNDING = (0.0, 5e-5, 5e-4)
# Largest value that the smallest count of a cell may have.
_SMALLEST = 8
_NAMED = 8
_NEGATIVE = "negative values"


@dataclass(frozen=True)
class Expression:
    """How to read linear expression from the file.

    Attributes:
        source: ``raw``, ``X`` or ``layers/<name>``.
        form: What is stored there.
        genes: Symbols of the genes.
        rounding: Half a unit of the last decimal of the stored values, 0 where they are not rounded.
    """

    source: str
    form: str
    genes: NDArray[np.object_]
    rounding: float = 0.0

    @property
    def scale(self) -> str:
        """``counts`` (recovered ones up to a factor per cell), or ``linear`` normalised expression."""
        return "counts" if self.form in (COUNTS, *_RECOVERABLE) else "linear"

    def of(self, stored: csr_matrix) -> csr_matrix:
        """Linear expression, float32, of cells as they are stored."""
        result = stored.astype(np.float64)
        if self.form in _RECOVERABLE:
            linear, error = _linear(result.data, self.form, self.rounding)
            result.data = whole_multiples(linear, error, result.indptr)[0]
        elif self.form == _LOG_NORMALISED:
            result.data = np.expm1(result.data)
        return result.astype(np.float32)


@dataclass
class _Examined:
    """What a matrix holds: `bad` says what forbids its use, `whole` that all values are whole numbers."""

    source: str
    bad: str = ""
    places: list[str] = field(default_factory=list)
    whole: bool = True

    @property
    def verdict(self) -> str:
        return f"{self.source}: {self.bad or 'fractions that are no multiples of one unit per cell'}"


def find_expression(
    file: AtlasFile, rows: NDArray[np.int64], cells: NDArray[np.object_], parameters: AtlasParameters
) -> Expression:
    """Decide by every value of the cells `rows`, so that the order of the cells changes nothing.

    Raises:
        PathomixError: No matrix has what the parameters ask for; each one is named with what it holds.
    """
    given = parameters.counts
    names = [name for name in _SEARCHED if name in file.sources] if given == "auto" else [given]
    examined: list[_Examined] = []
    for name in names:
        found = _examine(file, name, rows, cells)
        if parameters.scale != COUNTS and not found.bad:
            if found.whole:
                raise PathomixError(
                    f"{file.path}: {name} holds counts, but scale is {parameters.scale}", remedy="leave out scale"
                )
            _check_declared(file, found, rows, parameters.scale)
            return Expression(name, parameters.scale, file.genes(name, parameters.gene_key))
        if not found.bad and found.whole:
            return Expression(name, COUNTS, file.genes(name, parameters.gene_key))
        examined.append(found)
    for found in examined if parameters.scale == COUNTS else []:
        way = None if found.bad else _recovery(file, found.source, rows)
        if way:
            return Expression(found.source, way[0], file.genes(found.source, parameters.gene_key), way[1])
    raise _refusal(file, examined, parameters)


def whole_multiples(
    linear: Floats, error: Floats, indptr: Sequence[int] | NDArray[np.integer]
) -> tuple[Floats, NDArray[np.bool_]]:
    """Values of each row as whole multiples of a constant of the row.

    The constant is the row's smallest value over the first whole number up to eight that makes all values whole,
    refined by least squares. A common factor of all counts of a cell is therefore lost: counts are relative.

    Args:
        linear: Positive values of a CSR matrix.
        error: Largest error of each value.
        indptr: Row limits of the matrix.

    Returns:
        The multiples, and for each row with values whether all lie within their errors of whole numbers and these
        errors still tell one whole number from the next.
    """
    lengths = np.diff(np.asarray(indptr))
    lengths = lengths[lengths > 0]
    if not len(lengths):
        return linear, np.zeros(0, bool)
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    smallest = np.minimum.reduceat(linear, starts)
    relative = error / linear
    result, done = np.zeros_like(linear), np.zeros(len(starts), bool)
    for divisor in range(1, _SMALLEST + 1):
        nearest = np.rint(linear / np.repeat(smallest / divisor, lengths))
        unit = np.add.reduceat(linear * nearest, starts) / np.add.reduceat(nearest**2, starts)
        multiple = linear / np.repeat(unit, lengths)
        nearest = np.rint(multiple)
        tolerance = nearest * (relative + np.repeat(np.maximum.reduceat(relative, starts), lengths))
        fits = (np.abs(multiple - nearest) <= tolerance) & (tolerance < 0.5)
        fresh = np.logical_and.reduceat(fits, starts) & ~done
        result = np.where(np.repeat(fresh, lengths), nearest, result)
        done |= fresh
        if done.all():
            break
    return result, done


def _linear(stored: Floats, form: str, rounding: float) -> tuple[Floats, Floats]:
    """Values on the linear scale and their largest errors."""
    if form == MULTIPLES:
        return stored, stored * _FLOAT32 + rounding
    with np.errstate(over="ignore"):
        linear = np.expm1(stored)
    return linear, linear * _FLOAT32 + (1 + linear) * (stored * _FLOAT32 + rounding)


def _examine(file: AtlasFile, source: str, rows: NDArray[np.int64], cells: NDArray[np.object_]) -> _Examined:
    result = _Examined(source)
    for chunk in file.chunks(source, rows):
        values = chunk.matrix.data
        if not np.issubdtype(values.dtype, np.number) and values.dtype != bool:
            result.bad = f"values of type {values.dtype}"
            return result
        for fact, wrong in (("NaN or infinity", ~np.isfinite(values)), (_NEGATIVE, values < 0)):
            if wrong.any():
                result.bad, result.places = fact, _places(chunk, wrong, cells, file.index_of_genes(source))
                return result
        result.whole &= bool((values == np.rint(values)).all())
    return result


def _recovery(file: AtlasFile, source: str, rows: NDArray[np.int64]) -> tuple[str, float] | None:
    """The first way (form and rounding) to counts that no cell contradicts."""
    alive = [(form, rounding) for rounding in _ROUNDING for form in _RECOVERABLE]
    for chunk in file.chunks(source, rows):
        alive = [way for way in alive if _recovers(chunk, *way)]
        if not alive:
            return None
    return alive[0]


def _recovers(chunk: Chunk, form: str, rounding: float) -> bool:
    stored = chunk.matrix.data.astype(np.float64)
    if rounding:
        decimals = stored / (2 * rounding)
        if (np.abs(decimals - np.rint(decimals)) > decimals * _FLOAT32 + 1e-6).any():
            return False
    linear, error = _linear(stored, form, rounding)
    return bool(np.isfinite(linear).all() and whole_multiples(linear, error, chunk.matrix.indptr)[1].all())


def _places(chunk: Chunk, wrong: NDArray[np.bool_], cells: NDArray[np.object_], genes: Sequence[str]) -> list[str]:
    flat = np.flatnonzero(wrong)[:_NAMED]
    rows = chunk.rows[np.searchsorted(chunk.matrix.indptr, flat, side="right") - 1]
    return [f"{cells[row]} {genes[column]}" for row, column in zip(rows, chunk.matrix.indices[flat], strict=True)]


def _check_declared(file: AtlasFile, found: _Examined, rows: NDArray[np.int64], scale: str) -> None:
    """Refuse logarithms that cannot be undone within float32."""
    top = max(float(chunk.matrix.data.max(initial=0)) for chunk in file.chunks(found.source, rows))
    if scale == _LOG_NORMALISED and top > np.log1p(np.finfo(np.float32).max):
        raise PathomixError(
            f"{file.path}: {found.source} reaches {top:g}, which is no natural logarithm of expression",
            remedy="say `scale: linear` if the values are not logarithms",
        )


def _refusal(file: AtlasFile, examined: Sequence[_Examined], parameters: AtlasParameters) -> PathomixError:
    """The error that says what each matrix holds and what to try next."""
    verdicts = "; ".join(found.verdict for found in examined) or "neither raw nor X nor layers/counts is there"
    wanted = "counts" if parameters.scale == COUNTS else f"expression to read as {parameters.scale}"
    others = [name for name in file.sources if name not in {found.source for found in examined}]
    steps = []
    if any(found.bad == _NEGATIVE for found in examined):
        steps.append("scaled or centred values cannot be used" + (", .raw may hold others" if "raw" in others else ""))
    if others:
        steps.append(f"name another place, `counts: {others[0]}` (there: {', '.join(others)})")
    if parameters.scale == COUNTS and any(not found.bad for found in examined):
        steps.append("without counts say `scale: log_normalised` (natural log1p) or `scale: linear`")
    return PathomixError(
        f"{file.path}: no {wanted} ({verdicts})",
        offending=[place for found in examined for place in found.places][:_NAMED],
        remedy="; ".join([*steps, "or give a file with raw counts"]),
    )
