"""The whole evaluation and the tables of one study of 2,000 prediction files, in a process of its own.

Usage: python -m benchmarks.tables
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pathomix.core.files import file_digest
from pathomix.core.provenance import Provenance
from pathomix.core.schemas import RUN_INDEX
from pathomix.core.tables import read_table, write_table
from pathomix.evaluate.schemas import SCORES
from pathomix.evaluate.study import evaluate_study
from pathomix.report.tables import make_tables

METHODS, COHORTS, PATIENTS = 20, 4, 400
CLASSES = ("A", "B", "C")
# Scheme to its folds, seeds and share of tested patients; folds of the first partition the patients.
SCHEMES = {"cv5": (5, 3, None), "repeated": (10, 1, 0.3)}


def cohort(number: int) -> pd.DataFrame:
    """Patients with a hidden hazard, exponential times and independent censoring."""
    generator = np.random.default_rng([0, number])
    truth = generator.normal(size=PATIENTS)
    death = generator.exponential(30 / np.exp(truth))
    censored = generator.exponential(40, size=PATIENTS)
    return pd.DataFrame(
        {
            "patient_id": [f"SIMU-{number:02d}-{i:04d}" for i in range(PATIENTS)],
            "time": np.minimum(death, censored) + 0.1,
            "event": (death <= censored).astype(np.int8),
            "class_label": np.array(CLASSES, dtype=object)[np.arange(PATIENTS) % len(CLASSES)],
            "truth": truth,
        }
    )


def predictions(table: pd.DataFrame, share: float, tested: np.ndarray, generator: np.random.Generator) -> pd.DataFrame:
    """Both tasks of one run: risk and class scores that hold a share of the truth."""
    base = table.drop(columns="truth").assign(part=np.where(tested, "test", "train"))
    noise = generator.normal(size=(PATIENTS, len(CLASSES) + 1))
    survival = base.assign(task="survival", risk=share * table["truth"] + (1 - share) * noise[:, 0])
    logits = 2 * share * (table["class_label"].to_numpy()[:, None] == np.array(CLASSES)) + noise[:, 1:]
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    subtype = base.assign(task="subtype", risk=np.nan)
    subtype[[f"probability_{name}" for name in CLASSES]] = probability
    return pd.concat([survival, subtype], ignore_index=True)


def write_study(results: Path) -> None:
    """All prediction files and one run index per method, cohort and scheme, under `results`."""
    for c in range(COHORTS):
        table = cohort(c)
        for scheme, (folds, seeds, share) in SCHEMES.items():
            order = np.random.default_rng([1, c]).permutation(PATIENTS)
            for m in range(METHODS):
                place = {"study": "benchmark", "method": f"method_{m:02d}", "cohort": f"cohort_{c}", "scheme": scheme}
                rows = []
                for fold in range(folds):
                    tested = order % folds == fold
                    if share is not None:
                        tested = np.random.default_rng([2, c, fold]).random(PATIENTS) < share
                    for seed in range(seeds):
                        generator = np.random.default_rng([3, c, folds, m, fold, seed])
                        frame = predictions(table, 0.2 + 0.03 * m, tested, generator)
                        path = results / f"runs/{c}-{scheme}-{m}-{fold}-{seed}.parquet"
                        pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), path)
                        facts = {"fold": fold, "seed": seed, "path": str(path.relative_to(results))}
                        rows.append({**place, **facts, "sha256": file_digest(path)})
                index = pd.DataFrame(rows).assign(task="survival,subtype", status="done", reason=None)
                write_table(index, RUN_INDEX, results / f"index/{c}-{scheme}-{m}.parquet", Provenance("run_index"))


def build(results: Path) -> None:
    """Evaluate the study and lay its tables out."""
    started = time.perf_counter()
    scores = results / "scores.parquet"
    parameters = {"bootstrap": 1000, "reference": "method_10"}
    evaluate_study(sorted((results / "index").iterdir()), results, parameters, results, 2)
    evaluated = time.perf_counter()
    make_tables(scores, [], {}, results / "tables")
    done = time.perf_counter()
    cells = len(read_table(scores, SCORES))
    print(f"{cells} cells; evaluation {evaluated - started:.1f} s, tables {done - evaluated:.1f} s", flush=True)


def main() -> None:
    """Generate the files, then build the tables in a child process and print its seconds and peak memory."""
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "runs").mkdir()
        write_study(Path(folder))
        count = len(list((Path(folder) / "runs").iterdir()))
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "benchmarks.tables", folder], check=True)
        seconds = time.perf_counter() - started
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    busy, peak = used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e9
    print(f"{count} prediction files: {seconds:.1f} s wall, {busy:.1f} s processor, peak {peak:.2f} GB")
    print("wanted: under 60 s and 2 GB")
    print(f"load average at the end {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        build(Path(sys.argv[1]))
    else:
        main()
