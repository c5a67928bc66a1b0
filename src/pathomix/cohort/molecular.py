"""Molecular matrices: which columns or files, which samples, and what happens to repeats and gaps."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pathomix.cohort.block_specs import BlockSpec, CopyNumberSpec, ExpressionSpec
from pathomix.cohort.description import Description
from pathomix.cohort.import_log import ImportLog
from pathomix.cohort.samples import Samples
from pathomix.core.errors import PathomixError

_LINEAR = ("counts", "tpm", "fpkm")
# log2 of any abundance: above this the numbers are not logarithms (log2 of the largest TPM, 1e6, is 20).
_LARGEST_LOG2 = 40.0


def block_positions(description: Description, table: str, columns: tuple[str, ...]) -> dict[str, list[int]]:
    """Positions of the molecular columns of a table, by kind of block.

    Raises:
        PathomixError: A suffix matches no column, or no column is left for `remaining`.
    """
    here = {kind: spec for kind, spec in description.blocks().items() if spec.table == table}
    suffixes = tuple(spec.suffix for spec in here.values() if spec.suffix)
    used = description.table_columns()[table]
    result: dict[str, list[int]] = {}
    for kind, spec in here.items():
        if spec.suffix:
            found = [i for i, c in enumerate(columns) if c.endswith(spec.suffix) and c not in used]
        else:
            leave = used | set(spec.remaining or ())
            absent = sorted(set(spec.remaining or ()) - set(columns))
            if absent:
                raise PathomixError(
                    f"{description.tables[table].path}: columns of `molecular.{kind}.remaining` do not exist",
                    offending=absent, remedy="list only columns that are there and are no genes",
                )  # fmt: skip
            found = [i for i, c in enumerate(columns) if c not in leave and not (suffixes and c.endswith(suffixes))]
        if not found:
            raise PathomixError(
                f"{description.tables[table].path}: no column for `molecular.{kind}`"
                + (f" (none ends in {spec.suffix!r})" if spec.suffix else ""),
                remedy=f"correct the suffix, or remove `molecular.{kind}` if the cohort has none",
            )
        result[kind] = found
    return result


def block_matrix(kind: str, spec: BlockSpec, samples: Samples, log: ImportLog) -> pd.DataFrame:
    """One row per measured patient, one column per gene symbol, float32, rows sorted by id.

    Raises:
        PathomixError: No row is left, a gene without symbol or with gaps, repeated symbols or patients that differ and
            no policy, values that are impossible on the declared scale.
    """
    counts = dict(samples.counts)
    infinite = np.isinf(samples.values).any(axis=0)
    if infinite.any():
        where = [samples.genes[j] for j in np.flatnonzero(infinite)]
        raise PathomixError(f"{samples.label}: infinite {kind} values", offending=where, remedy="correct the values")
    measured = ~np.isnan(samples.values).all(axis=1)
    counts["rows_without_any_value"] = int((~measured).sum())
    if not measured.any():
        raise PathomixError(
            f"{samples.label}: no {kind} row belongs to a patient of the cohort",
            offending=samples.found,
            remedy="check the file, its `orientation` and the patient ids",
        )
    samples = samples.take(np.flatnonzero(measured))
    _check_gaps(kind, spec, samples)
    frame = _one_column_per_gene(kind, spec, samples, counts)
    frame = _one_row_per_patient(kind, spec, samples, frame, counts)
    _check_scale(kind, spec, samples.label, frame, log)
    log.step("molecular", samples.label, kind=kind, **counts, patients=len(frame), genes=frame.shape[1])
    return frame


def _check_gaps(kind: str, spec: BlockSpec, samples: Samples) -> None:
    gaps = np.isnan(samples.values)
    empty = np.flatnonzero(gaps.all(axis=0))
    if len(empty):
        raise PathomixError(
            f"{samples.label}: genes of {kind} without a single value",
            offending=[samples.genes[j] for j in empty],
            remedy="remove these genes from the table",
        )
    genes = [samples.genes[j] for j in np.flatnonzero(gaps.any(axis=0))]
    if genes and spec.missing == "error":
        raise PathomixError(
            f"{samples.label}: missing {kind} values ({int(gaps.sum())} in {len(genes)} genes)",
            offending=genes,
            remedy=f"correct the table, or set `molecular.{kind}.missing: impute_median` "
            "(methods then impute with the median of their training part)",
        )


def _one_column_per_gene(kind: str, spec: BlockSpec, samples: Samples, counts: dict[str, object]) -> pd.DataFrame:
    places: dict[str, list[int]] = {}
    for place, gene in enumerate(samples.genes):
        places.setdefault(gene, []).append(place)
    repeated = {gene: found for gene, found in places.items() if len(found) > 1}
    counts["repeated_symbols"] = len(repeated)
    if repeated and spec.duplicate_genes == "error":
        raise PathomixError(
            f"{samples.label}: {kind} has gene symbols more than once",
            offending=sorted(repeated),
            remedy=f"set `molecular.{kind}.duplicate_genes` to max_variance or mean",
        )
    keep, values = np.ones(len(samples.genes), dtype=bool), samples.values
    for found in repeated.values():
        keep[found] = False
        several = values[:, found].astype(np.float64)
        known = ~np.isnan(several)
        # Of equal variances the first column in the file wins.
        best = found[int(np.argmax(np.where(known.any(axis=0), _variance(several), -1.0)))]
        if spec.duplicate_genes == "mean":
            best = found[0]
            sums = np.where(known, several, 0.0).sum(axis=1)
            with np.errstate(invalid="ignore", divide="ignore"):
                values[:, best] = sums / known.sum(axis=1)
        keep[best] = True
    genes = pd.Index([gene for gene, wanted in zip(samples.genes, keep, strict=True) if wanted], name="gene")
    return pd.DataFrame(values[:, keep] if repeated else values, columns=genes)


def _variance(values: np.ndarray) -> np.ndarray:
    """Variance of each column over its known values."""
    known = ~np.isnan(values)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, values, 0.0).sum(axis=0) / count
    squares: np.ndarray = np.where(known, values - mean, 0.0) ** 2
    return squares.sum(axis=0) / count


def _one_row_per_patient(
    kind: str, spec: BlockSpec, samples: Samples, frame: pd.DataFrame, counts: dict[str, object]
) -> pd.DataFrame:
    order = sorted(range(len(samples.patients)), key=lambda i: (samples.patients[i], samples.sample_ids[i]))
    patients = np.array(samples.patients, dtype=object)[order]
    if order != list(range(len(order))):
        frame = frame.iloc[order]
    frame = frame.set_axis(pd.Index(patients, name="patient_id"), axis=0)
    again = np.flatnonzero(patients[1:] == patients[:-1]) + 1
    if not len(again):
        counts["rows_merged"] = counts["patients_with_differing_rows"] = 0
        return frame
    values = frame.to_numpy()
    same = (values[again] == values[again - 1]) | (np.isnan(values[again]) & np.isnan(values[again - 1]))
    differ = sorted(set(patients[again[~same.all(axis=1)]]))
    counts["rows_merged"] = len(again)
    counts["patients_with_differing_rows"] = len(differ)
    if differ and spec.aliquots == "error":
        raise PathomixError(
            f"{samples.label}: {kind} rows of one patient differ",
            offending=differ,
            remedy=f"set `molecular.{kind}.aliquots` to average or first, or leave the wrong rows out",
        )
    first = frame[~frame.index.duplicated()]
    if differ and spec.aliquots == "average":
        mean = frame.loc[differ].astype("float64").groupby(level=0).mean().astype("float32")
        return pd.concat([first.drop(index=differ), mean]).sort_index()
    return first


def _check_scale(kind: str, spec: BlockSpec, label: str, frame: pd.DataFrame, log: ImportLog) -> None:
    values = frame.to_numpy()
    if kind == "mutation" and (strange := _outside(values, (0, 1))).any():
        bad = frame.columns[strange]
        raise PathomixError(
            f"{label}: mutation values must be 0 or 1", offending=bad,
            remedy="correct the table (with several aliquots use `aliquots: first`)",
        )  # fmt: skip
    calls = isinstance(spec, CopyNumberSpec) and spec.scale == "gistic"
    if calls and _outside(values, (-2, -1, 0, 1, 2)).any():
        raise PathomixError(
            f"{label}: copy number holds other values than GISTIC calls -2..2",
            remedy="set `molecular.copy_number.scale: log2_ratio` if these are log ratios",
        )
    if not isinstance(spec, ExpressionSpec):
        return
    scale, low, high = spec.scale, float(np.nanmin(values)), float(np.nanmax(values))
    if scale in _LINEAR and low < 0:
        raise PathomixError(
            f"{label}: expression goes down to {low:g}, {scale} cannot be negative",
            remedy="name the true `molecular.expression.scale`",
        )
    if scale.startswith("log2") and high > _LARGEST_LOG2:
        raise PathomixError(
            f"{label}: expression goes up to {high:g}, too large for {scale}",
            remedy="name the true `molecular.expression.scale`",
        )
    far = int(((values > 10) | (values < -10)).sum()) if scale == "zscore" else 0
    if far:
        share = far / int((~np.isnan(values)).sum())
        log.warn(
            f"{label}: {share:.2%} of the expression z-scores are beyond 10 (largest {max(-low, high):.0f}); "
            "clip or rank them in methods that are sensitive to outliers"
        )


def _outside(values: np.ndarray, allowed: tuple[int, ...]) -> np.ndarray:
    """Per column, whether a known value is none of the allowed ones."""
    strange = ~np.isnan(values)
    for value in allowed:
        strange &= values != value
    return strange.any(axis=0)
