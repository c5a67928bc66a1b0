"""The whole evaluation step on the authors' own predictions of Pathomic Fusion (data/README.md, ready-made oracle)."""

from __future__ import annotations

import pandas as pd
import pytest

from pathomix.core.files import file_digest
from pathomix.core.provenance import Provenance
from pathomix.core.schemas import PREDICTIONS, RUN_INDEX
from pathomix.core.tables import read_table, write_table
from pathomix.evaluate.schemas import FOLD_SCORES, SCORES
from pathomix.evaluate.study import evaluate_study

# cohort, model, mean c per row, mean c per patient
PUBLISHED = [
    ("gbmlgg", "omic", 0.8009, 0.8070),
    ("gbmlgg", "pathomic_fusion", 0.8102, 0.8185),
    ("gbmlgg", "pathgraphomic_fusion", 0.8078, 0.8241),
    ("kirc", "omic", 0.6843, 0.6820),
]
EXPERIMENT = {"gbmlgg": "surv_15_rnaseq", "kirc": "surv_15"}
# Identified by time, event and grade, as the specification did for its intervals.
BY_GRADE = [("omic", 0.8077, 0.0143), ("pathomic_fusion", 0.8191, 0.0092), ("pathgraphomic_fusion", 0.8246, 0.0091)]


def published(shared_data, cohort, model) -> pd.DataFrame:
    path = shared_data / f"pathomicfusion/published_predictions_{cohort}_surv_test.parquet"
    frame = pd.read_parquet(path)
    return frame[frame["model"] == model].rename(columns={"survtime": "time"})


def scored(frame: pd.DataFrame, unit: list[str] | None, folder) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Write each fold as a run (one row per ROI, or the mean of a patient's rows) and evaluate them."""
    rows = []
    for fold, part in frame.groupby("fold"):
        if unit is None:
            part = part.assign(patient_id=[f"{fold}-{row}" for row in part["row"]])
        else:
            part = part.groupby(unit, as_index=False)["risk"].mean()
            part["patient_id"] = part[unit].astype(str).agg("/".join, axis=1)
        part = part.assign(task="survival", part="test", class_label=None)[list(PREDICTIONS.columns)]
        path = folder / f"fold-{fold}.parquet"
        write_table(part, PREDICTIONS, path, Provenance("predictions"))
        rows.append({"fold": int(fold), "path": path.name, "sha256": file_digest(path)})
    same = {"study": "published", "method": "m", "cohort": "c", "scheme": "s", "seed": 0, "task": "survival"}
    index = pd.DataFrame(rows).assign(**same, status="done", reason=None)
    write_table(index, RUN_INDEX, folder / "index.parquet", Provenance("run_index"))
    paths = folder / "folds.parquet", folder / "scores.parquet"
    evaluate_study([folder / "index.parquet"], folder, {"bootstrap": 100}, *paths)
    return read_table(paths[0], FOLD_SCORES), read_table(paths[1], SCORES)


@pytest.mark.parametrize(("cohort", "model", "per_row", "per_patient"), PUBLISHED)
def test_mean_c_index_of_the_15_folds_to_four_decimals(shared_data, tmp_path, cohort, model, per_row, per_patient):
    frame = published(shared_data, cohort, model)
    for unit, expected in ((None, per_row), (["time", "event"], per_patient)):
        folder = tmp_path / ("row" if unit is None else "patient")
        folder.mkdir()
        folds, scores = scored(frame, unit, folder)
        row = scores.iloc[0]
        assert round(row["mean"], 4) == expected
        assert row["folds_used"] == 15 and len(folds) == 15 and pd.isna(row["reason"])
        assert row["lower"] < row["mean"] < row["upper"]
        if unit is None:
            stored = pd.read_csv(shared_data / "pathomicfusion/published_fold_results.csv")
            same = (stored["cohort"] == f"TCGA_{cohort.upper()}") & (stored["experiment"] == EXPERIMENT[cohort])
            stored = stored[same & (stored["model"] == model)].set_index("fold")["shipped_metric"]
            assert folds.set_index("fold")["value"].to_dict() == pytest.approx(stored.to_dict(), abs=5e-5)


@pytest.mark.parametrize(("model", "mean", "half_width"), BY_GRADE)
def test_the_printed_interval_is_the_t_half_width_over_folds(shared_data, tmp_path, model, mean, half_width):
    _, scores = scored(published(shared_data, "gbmlgg", model), ["time", "event", "grade"], tmp_path)
    assert round(scores.loc[0, "mean"], 4) == mean
    assert round(scores.loc[0, "half_width"], 4) == half_width
