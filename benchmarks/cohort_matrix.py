"""Peak memory of a transcriptome on its way from a Xena table to `expression.h5ad`: 20,000 genes, a process per figure.

Ours reads the chosen samples line by line as float32; the alternative reads the table whole with pandas and turns it.
Memory is the process's peak above what it held before, so that libraries do not count. Each size is measured; 11,000
samples are extrapolated linearly from the two largest, because the input alone would be 1.6 GB of text.

Usage: python -m benchmarks.cohort_matrix
"""

from __future__ import annotations

import gzip
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from pathomix.cohort.block_specs import ExpressionSpec
from pathomix.cohort.description import parse_description
from pathomix.cohort.import_log import ImportLog
from pathomix.cohort.matrices import write_expression
from pathomix.cohort.molecular import block_matrix
from pathomix.cohort.samples import samples_of_files
from pathomix.core.provenance import Provenance

GENES, SIZES, WANTED, LIMIT = 20_000, (500, 1_000, 2_000), 11_000, 6.0
DESCRIPTION = {"tables": {"t": {"path": "t.tsv", "id": "p"}}, "patients": "t"}


def patients(count: int) -> list[str]:
    """Barcodes of `count` patients."""
    return [f"TCGA-{i // 10_000:02d}-{i % 10_000:04d}" for i in range(count)]


def write_table(path: Path, count: int) -> None:
    """Genes in rows, as Xena hands them out; one sample in ten is normal tissue."""
    generator = np.random.default_rng(0)
    samples = [f"{p}-{'11' if i % 10 == 9 else '01'}" for i, p in enumerate(patients(count))]
    with gzip.open(path, "wt", compresslevel=1) as stream:
        stream.write("sample\t" + "\t".join(samples) + "\n")
        for gene in range(GENES):
            values = generator.uniform(0, 15, count).round(4)
            stream.write(f"G{gene}\t" + "\t".join(map(str, values.tolist())) + "\n")


def ours(path: Path, count: int) -> None:
    """The builder's own way."""
    spec = ExpressionSpec(
        path=path.name, orientation="genes_in_rows", sample_types=("01",), scale="log2_norm_count_plus_1"
    )
    description, log = parse_description(DESCRIPTION, "benchmark"), ImportLog()
    cohort = pd.Index(patients(count))
    samples = samples_of_files("expression", spec, description, "c", path.parent, cohort, log, None)
    frame = block_matrix("expression", spec, samples, log)
    write_expression(path.parent / "expression.h5ad", frame, spec.scale, Provenance("expression"))


def with_pandas(path: Path, count: int) -> None:
    """The table whole, as float64, turned, then the same file."""
    table = pd.read_csv(path, sep="\t", index_col=0)
    table = table.loc[:, table.columns.str.endswith("-01")].T.sort_index()
    write_expression(path.parent / "other.h5ad", table.astype("float32"), "x", Provenance("expression"))


def measured(way: str, path: Path, count: int) -> tuple[float, float]:
    """Peak above the start in GB, and seconds, of one way in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.cohort_matrix", way, str(path), str(count)]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(found[0]), float(found[1])


def one(way: str, path: Path, count: int) -> None:
    """Body of the measured process."""
    import anndata  # noqa: F401  (loaded before, so that it does not count)

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    {"ours": ours, "pandas": with_pandas}[way](path, count)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print((peak - before) / 1024**2, time.perf_counter() - start)


def main() -> None:
    """Both ways at every size, and what 11,000 samples would take."""
    print(f"{GENES:,} genes; load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors\n")
    print("| samples | way | peak (GB) | wall (s) |\n|---|---|---|---|", flush=True)
    peaks: dict[str, list[float]] = {"ours": [], "pandas": []}
    for count in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "HiSeqV2.tsv.gz"
            write_table(path, count)
            for way, values in peaks.items():
                peak, seconds = measured(way, path, count)
                values.append(peak)
                print(f"| {count:,} | {way} | {peak:.2f} | {seconds:.1f} |", flush=True)
    for way, values in peaks.items():
        slope = (values[-1] - values[-2]) / (SIZES[-1] - SIZES[-2])
        at = values[-1] + slope * (WANTED - SIZES[-1])
        print(f"| {WANTED:,} (extrapolated) | {way} | {at:.2f} | |")
    print(f"\nours against pandas at {SIZES[-1]:,}: {peaks['ours'][-1] / peaks['pandas'][-1]:.2f}; limit {LIMIT} GB")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        one(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main()
