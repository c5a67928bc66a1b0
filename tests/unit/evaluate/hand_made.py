"""A study written by hand with the core contracts: predictions of known quality, no method involved."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from pathomix.core.files import file_digest
from pathomix.core.provenance import Provenance
from pathomix.core.schemas import PREDICTIONS, RUN_INDEX
from pathomix.core.tables import write_table

Change = Callable[[dict[str, object], pd.DataFrame], pd.DataFrame]


def cohort_table(name: str, patients: int, seed: int, classes: Sequence[str] = ("A", "B")) -> pd.DataFrame:
    """Patients with a hidden hazard `truth`, exponential times, independent censoring and a class."""
    generator = np.random.default_rng(seed)
    truth = generator.normal(size=patients)
    happens = generator.exponential(20 / np.exp(truth))
    censored = generator.exponential(35, size=patients)
    return pd.DataFrame(
        {
            "patient_id": [f"SIMU-{name[:2].upper()}-{i:04d}" for i in range(patients)],
            "time": np.minimum(happens, censored) + 0.1,
            "event": (happens <= censored).astype(int),
            "class_label": np.array(classes, dtype=object)[np.arange(patients) % len(classes)],
            "truth": truth,
        }
    )


def write_study(
    results: Path,
    methods: Mapping[str, float],
    cohorts: Mapping[str, pd.DataFrame],
    *,
    study: str = "demo",
    scheme: str = "kfold",
    folds: int = 3,
    seeds: int = 1,
    change: Change | None = None,
    failed: Mapping[tuple[str, str, int], str] | None = None,
) -> list[Path]:
    """Write k-fold predictions and one run index per method and cohort.

    Args:
        results: Results folder.
        methods: Method to the share of the truth in its risk and its class scores, 0 (noise) to 1.
        cohorts: Name to `cohort_table`.
        study: Name of the study.
        scheme: Name of the scheme.
        folds: Every patient is tested in one of them.
        seeds: Runs per fold.
        change: Called with the run's row and its predictions before they are written.
        failed: (method, cohort, fold) to the reason of a failed run.
    """
    indices = []
    for m, (method, share) in enumerate(methods.items()):
        for cohort, table in cohorts.items():
            rows = []
            for fold in range(folds):
                for seed in range(seeds):
                    row: dict[str, object] = {"study": study, "method": method, "cohort": cohort, "scheme": scheme}
                    row |= {"fold": fold, "seed": seed, "task": "survival,subtype", "status": "done", "reason": None}
                    reason = (failed or {}).get((method, cohort, fold))
                    if reason:
                        rows.append({**row, "status": "failed", "reason": reason, "path": None, "sha256": None})
                        continue
                    frame = predictions(table, share, fold, folds, [m, fold, seed])
                    frame = change(row, frame) if change else frame
                    path = results / f"runs/{study}/{method}/{cohort}/{scheme}-{fold}/seed{seed}/predictions.parquet"
                    write_table(frame, PREDICTIONS, path, Provenance("predictions"))
                    rows.append({**row, "path": str(path.relative_to(results)), "sha256": file_digest(path)})
            index = results / f"runs/{study}/{method}/{cohort}/{scheme}.parquet"
            write_table(pd.DataFrame(rows), RUN_INDEX, index, Provenance("run_index"))
            indices.append(index)
    return indices


def predictions(table: pd.DataFrame, share: float, fold: int, folds: int, seed: Sequence[int]) -> pd.DataFrame:
    """PREDICTIONS of both tasks: every `folds`-th patient (starting at `fold`) is tested, the others are trained on."""
    generator = np.random.default_rng([7, *seed])
    classes = sorted(set(table["class_label"].dropna()))
    part = np.where(np.arange(len(table)) // len(classes) % folds == fold, "test", "train")
    base = table[["patient_id", "time", "event", "class_label"]].assign(part=part)
    survival = base.assign(task="survival")
    survival["risk"] = share * table["truth"] + (1 - share) * generator.normal(size=len(table))
    logits = 3 * share * (table["class_label"].to_numpy()[:, None] == np.array(classes)[None, :])
    logits = logits + generator.normal(size=logits.shape)
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    subtype = base.assign(task="subtype", risk=np.nan)
    for column, name in enumerate(classes):
        subtype[f"probability_{name}"] = probability[:, column]
    return pd.concat([survival, subtype], ignore_index=True)
