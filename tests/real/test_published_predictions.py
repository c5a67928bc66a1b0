"""The whole evaluation step on the authors' own predictions of Pathomic Fusion (data/README.md, ready-made oracle)."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pathomix.core.files import file_digest
from pathomix.core.provenance import Provenance
from pathomix.core.schemas import RUN_INDEX
from pathomix.core.tables import read_table, write_table
from pathomix.evaluate.predictions import read_runs
from pathomix.evaluate.risk_groups import risk_groups
from pathomix.evaluate.schemas import FOLD_SCORES, REGION_PREDICTIONS, SCORES
from pathomix.evaluate.study import evaluate_study

# cohort, model, mean c per row, mean c per patient
PUBLISHED = [
    ("gbmlgg", "omic", 0.8009, 0.8070),
    ("gbmlgg", "pathomic_fusion", 0.8102, 0.8185),
    ("gbmlgg", "pathgraphomic_fusion", 0.8078, 0.8241),
    ("kirc", "omic", 0.6843, 0.6820),
]
# Every model whose stored values are of the level of its predictions; those of `path` and `graph` are of another one.
STORED = [
    *(("gbmlgg", name) for name in ("omic", "omicomic_fusion", "graphomic_fusion")),
    *(("gbmlgg", name) for name in ("pathomic_fusion", "pathgraphomic_fusion")),
    *(("kirc", name) for name in ("omic", "omicomic_fusion", "pathpath_fusion")),
]
EXPERIMENT = {"gbmlgg": "surv_15_rnaseq", "kirc": "surv_15"}
# Patients identified by time, event and grade, as the specification did for its intervals (path_gptomic 9.1).
BY_GRADE = [("omic", 0.8077, 0.0143), ("pathomic_fusion", 0.8191, 0.0092), ("pathgraphomic_fusion", 0.8246, 0.0091)]
MODELS = {
    "gbmlgg": (
        *("graph", "graphomic_fusion", "omic", "omicomic_fusion"),
        *("path", "pathgraphomic_fusion", "pathomic_fusion"),
    ),
    "kirc": ("graph", "graphomic_fusion", "omic", "omicomic_fusion", "path", "pathpath_fusion"),
}


def published(shared_data, cohort) -> pd.DataFrame:
    path = shared_data / f"pathomicfusion/published_predictions_{cohort}_surv_test.parquet"
    return pd.read_parquet(path).rename(columns={"survtime": "time"})


def imported(frame: pd.DataFrame, identity: list[str], folder) -> list:
    """Write each model and fold as a run: a row per ROI or patch, patients told apart by `identity`."""
    indices = []
    folder.mkdir(exist_ok=True)
    for model, mine in frame.groupby("model"):
        rows = []
        for fold, part in mine.groupby("fold"):
            part = part.assign(task="survival", part="test", class_label=None, region_id=part["row"].astype(str))
            part["patient_id"] = part[identity].astype(str).agg("/".join, axis=1)
            path = folder / f"{model}-{fold}.parquet"
            write_table(part[list(REGION_PREDICTIONS.columns)], REGION_PREDICTIONS, path, Provenance("predictions"))
            rows.append({"fold": int(fold), "path": path.name, "sha256": file_digest(path)})
        same = {"study": "published", "method": model, "cohort": "c", "scheme": "s", "seed": 0, "task": "survival"}
        index = pd.DataFrame(rows).assign(**same, status="done", reason=None)
        write_table(index, RUN_INDEX, folder / f"{model}.index.parquet", Provenance("run_index"))
        indices.append(folder / f"{model}.index.parquet")
    return indices


def scored(indices, folder, unit, **parameters) -> tuple[pd.DataFrame, pd.DataFrame]:
    evaluate_study(indices, folder, {"bootstrap": 100, "unit": unit, **parameters}, folder / unit)
    folds = read_table(folder / unit / "folds.parquet", FOLD_SCORES)
    cells = read_table(folder / unit / "scores.parquet", SCORES)
    return folds[folds["metric"] == "c_index"], cells[cells["metric"] == "c_index"].set_index("method")


@pytest.fixture(scope="module")
def evaluated(shared_data, tmp_path_factory):
    """Cohort and unit to fold scores and cells of every model, and the run indices."""
    root = tmp_path_factory.mktemp("published")
    found = {}
    for cohort in ("gbmlgg", "kirc"):
        folder = root / cohort
        indices = imported(published(shared_data, cohort), ["time", "event"], folder)
        found[cohort] = (indices, folder)
        for unit in ("region", "patient"):
            found[cohort, unit] = scored(indices, folder, unit, reference="omic")
    return found


@pytest.mark.parametrize(("cohort", "model", "per_row", "per_patient"), PUBLISHED)
def test_mean_c_index_of_the_15_folds_to_four_decimals(evaluated, cohort, model, per_row, per_patient):
    for unit, expected in (("region", per_row), ("patient", per_patient)):
        folds, scores = evaluated[cohort, unit]
        row = scores.loc[model]
        assert round(row["mean"], 4) == expected and row["unit"] == unit
        assert row["folds_used"] == 15 and (folds["method"] == model).sum() == 15
        # The imaging models were tested on more patients; evaluation says that this one lacks them.
        assert (row["n_missing"] > 0) == (cohort == "gbmlgg") == isinstance(row["reason"], str)
        assert row["lower"] < row["mean"] < row["upper"]


@pytest.mark.parametrize("cohort", ["gbmlgg", "kirc"])
def test_every_published_model_is_scored_on_all_folds_with_both_spreads(evaluated, cohort):
    for unit in ("region", "patient"):
        folds, scores = evaluated[cohort, unit]
        assert sorted(scores.index) == sorted(MODELS[cohort])
        for model, row in scores.iterrows():
            values = folds.loc[folds["method"] == model, "value"]
            assert len(values) == 15 and row["sd_folds"] == pytest.approx(values.std(ddof=1))
            # The factor of spec 9.1: t(0.975, 14) / sqrt(15).
            assert row["half_width"] == pytest.approx(0.5538 * row["sd_folds"], rel=1e-4)


@pytest.mark.parametrize(("cohort", "model"), STORED)
def test_fold_values_per_row_are_those_the_authors_stored(evaluated, shared_data, cohort, model):
    stored = pd.read_csv(shared_data / "pathomicfusion/published_fold_results.csv")
    same = (stored["cohort"] == f"TCGA_{cohort.upper()}") & (stored["experiment"] == EXPERIMENT[cohort])
    stored = stored[same & (stored["model"] == model)].set_index("fold")["shipped_metric"]
    folds, _ = evaluated[cohort, "region"]
    ours = folds[folds["method"] == model].set_index("fold")["value"]
    assert len(stored) == 15 and ours.to_dict() == pytest.approx(stored.to_dict(), abs=1e-9)


def test_the_printed_interval_of_gbmlgg_is_the_t_half_width_over_folds(shared_data, tmp_path):
    frame = published(shared_data, "gbmlgg")
    frame = frame[frame["model"].isin([model for model, *_ in BY_GRADE])]
    _, scores = scored(imported(frame, ["time", "event", "grade"], tmp_path), tmp_path, "patient")
    for model, mean, half_width in BY_GRADE:
        assert round(scores.loc[model, "mean"], 4) == mean
        assert round(scores.loc[model, "half_width"], 4) == half_width


def test_the_printed_interval_of_kirc_is_per_row_and_of_the_population_deviation(evaluated):
    # Printed: 0.6843 +- 0.025. With the sample deviation the half-width is 0.0262, with the population one 0.0253.
    _, scores = evaluated["kirc", "region"]
    row = scores.loc["omic"]
    assert round(row["half_width"], 4) == 0.0262
    assert round(row["half_width"] * np.sqrt(14 / 15), 3) == 0.025


def test_which_patients_are_tested_moves_the_image_model_more_than_the_models_differ(shared_data, tmp_path):
    # Spec path_gptomic 9 has 0.748 on all test patients and 0.795 on the multimodal subset. The released rows of
    # `path`, averaged per patient, give 0.746 and 0.783: the direction is there, the second number is not reproduced.
    frame = published(shared_data, "gbmlgg")
    key = ["fold", "time", "event", "grade"]
    path = frame[frame["model"] == "path"]
    inside = path.merge(frame.loc[frame["model"] == "omic", key].drop_duplicates(), on=key)
    for name, rows, expected in (("all", path, 0.7456), ("subset", inside, 0.7826)):
        indices = imported(rows, ["time", "event", "grade"], tmp_path / name)
        _, scores = scored(indices, tmp_path / name, "patient")
        assert round(scores.loc["path", "mean"], 4) == expected


def test_models_are_compared_over_the_overlapping_folds(evaluated):
    folds, scores = evaluated["gbmlgg", "patient"]
    values = folds.pivot(index="fold", columns="method", values="value")
    d = values["pathomic_fusion"] - values["omic"]
    row = scores.loc["pathomic_fusion"]
    assert row["difference"] == pytest.approx(d.mean()) and 0 < row["wilcoxon_p"] < 0.05
    assert pd.isna(row["resampled_p"]) and "without predictions of the training part" in row["test_reason"]


def test_kaplan_meier_counts_each_patient_once_beside_the_pooled_form(evaluated):
    indices, folder = evaluated["gbmlgg"]
    runs = read_runs([path for path in indices if path.name == "omic.index.parquet"], folder)
    groups = risk_groups(runs, "omic", "c", "s")
    assert groups.rule == "patient" and groups.patients["patient_id"].is_unique
    assert groups.left_out == () and groups.p_value < 1e-10
    assert len(groups.pooled.patients) > 3 * len(groups.patients)
    assert groups.pooled.p_value < groups.p_value, "repeated patients inflate the significance"
