"""Molecular matrices: which columns or files, which samples, and what happens to repeats and gaps."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pathomix.cohort.clinical import Keyed
from pathomix.cohort.description import BlockSpec, CopyNumberSpec, Description, ExpressionSpec
from pathomix.cohort.import_log import ImportLog
from pathomix.cohort.raw import RawTable, patient_of
from pathomix.core.barcodes import sample_type
from pathomix.core.errors import PathomixError

_LINEAR = ("counts", "tpm", "fpkm")
# log2 of any abundance: above this the numbers are not logarithms (log2 of the largest TPM, 1e6, is 20).
_LARGEST_LOG2 = 40.0


@dataclass(frozen=True)
class Samples:
    """A matrix as found: rows are samples (or slides), columns may repeat a symbol."""

    label: str
    sample_ids: list[str]
    patients: list[str]
    genes: list[str]
    values: np.ndarray  # float64 [samples, genes]


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


def samples_of_columns(keyed: Keyed, sample_column: str, spec: BlockSpec, positions: list[int]) -> Samples:
    """The block that lies in some columns of a table."""
    table, cut = keyed.table, len(spec.suffix or "")
    genes = [table.columns[i][: len(table.columns[i]) - cut] for i in positions]
    ids = table.verbatim(sample_column).tolist()
    return Samples(table.label, ids, keyed.patients.tolist(), genes, table.frame[positions].to_numpy(np.float64))


def matrix_columns(columns: tuple[str, ...]) -> Collection[int]:
    """Positions of the numbers in a matrix file: all but its first column."""
    return range(1, len(columns))


def samples_of_matrix(table: RawTable, spec: BlockSpec, description: Description, log: ImportLog) -> Samples:
    """The block that is a file of its own, in either orientation."""
    names = table.frame[0].map(lambda v: "" if v is None else str(v).strip()).tolist()
    headers, values = list(table.columns[1:]), table.frame[list(matrix_columns(table.columns))].to_numpy(np.float64)
    if spec.orientation == "genes_in_rows":
        names, headers, values = headers, names, values.T
    keep = [i for i, name in enumerate(names) if name]
    log.quarantine([""] * (len(names) - len(keep)), table.label, "sample without an id")
    ids = [names[i] for i in keep]
    turned = "patients_in_rows" if spec.orientation == "genes_in_rows" else "genes_in_rows"
    try:
        patients = [patient_of(text, description.id, table.label) for text in ids]
    except PathomixError as error:
        raise PathomixError(
            error.fact, offending=error.offending, remedy=f"{error.remedy}, or `orientation: {turned}`"
        ) from error
    return Samples(table.label, ids, patients, headers, values[keep])


def block_matrix(kind: str, spec: BlockSpec, samples: Samples, cohort: pd.Index, log: ImportLog) -> pd.DataFrame:
    """One row per measured patient of the cohort, one column per gene symbol, float32, both sorted by row id.

    Raises:
        PathomixError: Sample types not chosen, a gene without symbol or with gaps, repeated symbols or patients that
            differ and no policy, values that are impossible on the declared scale.
    """
    counts: dict[str, object] = {"rows_in": len(samples.sample_ids), "genes_in": len(samples.genes)}
    samples = _chosen_samples(kind, spec, samples, counts)
    values = samples.values
    if np.isinf(values).any():
        where = [samples.genes[j] for j in np.flatnonzero(np.isinf(values).any(axis=0))]
        raise PathomixError(f"{samples.label}: infinite {kind} values", offending=where, remedy="correct the values")
    measured = ~np.isnan(values).all(axis=1)
    counts["rows_without_any_value"] = int((~measured).sum())
    inside = np.isin(samples.patients, cohort)
    outside = sorted({p for p, ok in zip(samples.patients, inside, strict=True) if not ok})
    log.quarantine(outside, samples.label, f"{kind} of a patient who is not in the patients table")
    keep = np.flatnonzero(measured & inside)
    if not len(keep):
        raise PathomixError(
            f"{samples.label}: no {kind} row belongs to a patient of the cohort",
            offending=samples.sample_ids,
            remedy="check the file, its `orientation` and the patient ids",
        )
    samples = Samples(
        samples.label, [samples.sample_ids[i] for i in keep], [samples.patients[i] for i in keep],
        samples.genes, values[keep],
    )  # fmt: skip
    _check_gaps(kind, spec, samples)
    frame = _one_column_per_gene(kind, spec, samples, counts)
    frame = _one_row_per_patient(kind, spec, samples, frame, counts)
    _check_scale(kind, spec, samples.label, frame, log)
    log.step("molecular", samples.label, kind=kind, **counts, patients=len(frame), genes=frame.shape[1])
    return frame.astype("float32")


def _chosen_samples(kind: str, spec: BlockSpec, samples: Samples, counts: dict[str, object]) -> Samples:
    types = [sample_type(text) for text in samples.sample_ids]
    present = sorted({t for t in types if t is not None})
    if spec.sample_types is None:
        if present:
            raise PathomixError(
                f"{samples.label}: the ids carry TCGA sample types {present}; normal tissue (11) must not slip in",
                remedy=f'choose them: `molecular.{kind}.sample_types: ["01"]` for primary tumour',
            )
        return samples
    if not present:
        raise PathomixError(
            f"{samples.label}: `molecular.{kind}.sample_types` is set, but the ids carry no sample type",
            offending=samples.sample_ids[:3],
            remedy="remove `sample_types`",
        )
    keep = [i for i, t in enumerate(types) if t in spec.sample_types]
    left = [t or "none" for t in types if t not in spec.sample_types]
    counts["other_sample_types"] = {t: left.count(t) for t in sorted(set(left))}
    return Samples(
        samples.label, [samples.sample_ids[i] for i in keep], [samples.patients[i] for i in keep],
        samples.genes, samples.values[keep],
    )  # fmt: skip


def _check_gaps(kind: str, spec: BlockSpec, samples: Samples) -> None:
    unnamed = [f"column {j + 1}" for j, gene in enumerate(samples.genes) if not gene]
    if unnamed:
        raise PathomixError(f"{samples.label}: genes without a symbol", offending=unnamed, remedy="name or remove them")
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
    frame = pd.DataFrame(samples.values, columns=pd.Index(samples.genes, name="gene"))
    repeated = pd.unique(frame.columns[frame.columns.duplicated()])
    counts["repeated_symbols"] = len(repeated)
    if not len(repeated):
        return frame
    if spec.duplicate_genes == "error":
        raise PathomixError(
            f"{samples.label}: {kind} has gene symbols more than once",
            offending=sorted(repeated),
            remedy=f"set `molecular.{kind}.duplicate_genes` to max_variance or mean",
        )
    if spec.duplicate_genes == "mean":
        return frame.T.groupby(level=0, sort=False).mean().T
    variance = frame.to_numpy().var(axis=0) if not frame.isna().any(axis=None) else np.nanvar(frame.to_numpy(), axis=0)
    order = pd.DataFrame({"gene": samples.genes, "variance": variance})
    # Stable sort: of equal variances the first column in the file wins.
    best = order.sort_values("variance", ascending=False, kind="stable").drop_duplicates("gene").index.sort_values()
    return frame.iloc[:, best]


def _one_row_per_patient(
    kind: str, spec: BlockSpec, samples: Samples, frame: pd.DataFrame, counts: dict[str, object]
) -> pd.DataFrame:
    order = sorted(range(len(samples.patients)), key=lambda i: (samples.patients[i], samples.sample_ids[i]))
    patients = np.array(samples.patients, dtype=object)[order]
    frame = frame.iloc[order].set_axis(pd.Index(patients, name="patient_id"), axis=0)
    values = frame.to_numpy()
    again = np.flatnonzero(patients[1:] == patients[:-1]) + 1
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
    if differ and spec.aliquots == "average":
        mean = frame.loc[differ].groupby(level=0).mean()
        return pd.concat([frame.drop(index=differ)[lambda f: ~f.index.duplicated()], mean]).sort_index()
    return frame[~frame.index.duplicated()]


def _check_scale(kind: str, spec: BlockSpec, label: str, frame: pd.DataFrame, log: ImportLog) -> None:
    values = frame.to_numpy()
    known = values[~np.isnan(values)]
    if kind == "mutation" and not np.isin(known, (0, 1)).all():
        bad = frame.columns[((values != 0) & (values != 1) & ~np.isnan(values)).any(axis=0)]
        raise PathomixError(
            f"{label}: mutation values must be 0 or 1", offending=bad,
            remedy="correct the table (with several aliquots use `aliquots: first`)",
        )  # fmt: skip
    if isinstance(spec, CopyNumberSpec) and spec.scale == "gistic" and not np.isin(known, (-2, -1, 0, 1, 2)).all():
        raise PathomixError(
            f"{label}: copy number holds other values than GISTIC calls -2..2",
            remedy="set `molecular.copy_number.scale: log2_ratio` if these are log ratios",
        )
    if not isinstance(spec, ExpressionSpec):
        return
    scale, low, high = spec.scale, float(known.min()), float(known.max())
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
    if scale == "zscore" and (share := float(np.mean(np.abs(known) > 10))):
        log.warn(
            f"{label}: {share:.2%} of the expression z-scores are beyond 10 (largest {np.abs(known).max():.0f}); "
            "clip or rank them in methods that are sensitive to outliers"
        )
