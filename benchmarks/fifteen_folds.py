"""A whole 15-fold run of one molecular row on embedded expression, files included: 570 simulated patients, one thread.

Usage: python -m benchmarks.fifteen_folds
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from threadpoolctl import threadpool_limits

from pathomix.cohort.cases import Cases
from pathomix.cohort.splits import make_splits
from pathomix.core.schemas import PREDICTIONS, RUN_INDEX
from pathomix.core.tables import read_table
from pathomix.methods.run import Cell, run_cell
from pathomix.survival.concordance import harrell_c

# Spec path_gptomic 7.1: 80 alterations of glioma, IDH mutation and 79 copy numbers.
PATIENTS, DIMENSIONS, COPY_NUMBERS, FOLDS = 570, 512, 79, 15
BLOCKS = ["copy_number", "mutation"]
ROWS: dict[str, dict[str, Any]] = {
    "path_gptomic, alterations and embedded expression": {
        "method": "path_gptomic", "image": "none", "rna": "vectors", "blocks": BLOCKS, "modulation": "none",
    },
    "snn, alterations": {"method": "snn", "blocks": BLOCKS},
}  # fmt: skip


def cohort() -> Cases:
    """A hazard that copy numbers, the mutation and the vectors show in part; about half of the patients censored."""
    generator = np.random.default_rng(0)
    ids = pd.Index([f"SIMU-AA-{i:04d}" for i in range(PATIENTS)], name="patient_id")
    hazard = generator.normal(size=PATIENTS)
    death = generator.exponential(30 / np.exp(hazard))
    censoring = generator.exponential(30, size=PATIENTS)
    patients = pd.DataFrame(
        {"time": np.minimum(death, censoring) + 0.01, "event": (death <= censoring).astype(int), "endpoint": "OS",
         "class_label": None, "tissue_source_site": "AA", "age": 60.0, "sex": "female", "stage": None, "grade": None},
        index=ids,
    )  # fmt: skip

    def seen(width: int, strength: float) -> pd.DataFrame:
        values = generator.normal(size=(PATIENTS, width)) + strength * hazard[:, None] / np.sqrt(width)
        return pd.DataFrame(values.astype(np.float32), ids, [f"F{i}" for i in range(width)])

    mutation = (seen(1, 1.0) > 0).astype(np.float32)
    return Cases(
        patients, copy_number=seen(COPY_NUMBERS, 1.5), mutation=mutation, expression_vectors=seen(DIMENSIONS, 3.0)
    )


def measure(name: str, configuration: dict[str, Any], cases: Cases, splits: pd.DataFrame) -> None:
    """Run a row in a folder of its own and print wall and processor seconds and the mean test c-index."""
    cell = Cell("benchmark", "row", "simulated", "mc15", configuration, ("survival",), (0,), "", {})
    with tempfile.TemporaryDirectory() as folder:
        index = Path(folder) / "index.parquet"
        wall, busy = time.perf_counter(), time.process_time()
        run_cell(cell, cases, splits, folder, index)
        wall, busy = time.perf_counter() - wall, time.process_time() - busy
        units = read_table(index, RUN_INDEX)
        if len(units) != FOLDS or not (units["status"] == "done").all():
            raise SystemExit(f"{name}: not all folds are done: {sorted(set(units['reason'].dropna()))}")
        scores = []
        for path in units["path"]:
            rows = read_table(Path(folder) / path, PREDICTIONS)
            test = rows[rows["part"] == "test"]
            scores.append(harrell_c(test["time"], test["event"], test["risk"]))
    print(f"| {name} | {wall:.1f} | {busy:.1f} | {np.mean(scores):.3f} |", flush=True)


def main() -> None:
    """Both rows, parameters otherwise the methods' own."""
    torch.set_num_threads(1)
    cases = cohort()
    scheme = {"scheme": "monte_carlo", "folds": FOLDS, "valid_fraction": 0.2, "stratify": ["event"]}
    splits, _ = make_splits(cases.patients.reset_index(), scheme)
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors\n")
    print("| row, 15 folds | wall s | processor s | mean test c |\n|---|---|---|---|", flush=True)
    with threadpool_limits(1):
        for name, configuration in ROWS.items():
            measure(name, configuration, cases, splits)
    print(f"\nload average at the end {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
