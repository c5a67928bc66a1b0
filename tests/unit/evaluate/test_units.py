"""Regions and patients: the same predictions on two units."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pathomix.core.errors import PathomixError
from pathomix.core.files import file_digest
from pathomix.core.provenance import Provenance
from pathomix.core.schemas import RUN_INDEX
from pathomix.core.tables import write_table
from pathomix.evaluate.metrics import c_index
from pathomix.evaluate.parts import blocks
from pathomix.evaluate.predictions import read_runs
from pathomix.evaluate.schemas import REGION_PREDICTIONS
from pathomix.evaluate.scores import Parameters, evaluate
from pathomix.evaluate.units import average_units
from pathomix.survival.concordance import harrell_c


def regional(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    """One to three regions per patient, each with noise of its own; the last quarter is the training part."""
    generator = np.random.default_rng(seed)
    rows = table.loc[table.index.repeat(1 + np.arange(len(table)) % 3)].copy()
    rows["risk"] = rows["truth"] + generator.normal(size=len(rows))
    rows["region_id"] = [f"r{number}" for number in range(len(rows))]
    part = np.where(rows.index < 0.75 * len(table), "test", "train")
    return rows.drop(columns="truth").assign(task="survival", part=part)


def written(frame: pd.DataFrame, folder, schema=REGION_PREDICTIONS):
    write_table(frame, schema, folder / "predictions.parquet", Provenance("predictions"))
    row = {"study": "s", "method": "m", "cohort": "c", "scheme": "x", "fold": 0, "seed": 0, "task": "survival"}
    digest = file_digest(folder / "predictions.parquet")
    row |= {"status": "done", "reason": None, "path": "predictions.parquet", "sha256": digest}
    write_table(pd.DataFrame([row]), RUN_INDEX, folder / "index.parquet", Provenance("run_index"))
    return [folder / "index.parquet"]


def scores_of(indices, folder, unit):
    return evaluate(read_runs(indices, folder, unit=unit), Parameters(bootstrap=200, unit=unit))[1].iloc[0]


def test_each_unit_is_scored_as_it_says_and_patients_are_resampled_whole(hand_made, tmp_path):
    table = hand_made.cohort_table("north", 60, 1)
    frame = regional(table, 2)
    indices = written(frame, tmp_path)
    test = frame[frame["part"] == "test"]
    region, patient = (scores_of(indices, tmp_path, unit) for unit in ("region", "patient"))
    assert region["mean"] == pytest.approx(harrell_c(test["time"], test["event"], test["risk"]))
    mean = test.groupby("patient_id").agg({"time": "first", "event": "first", "risk": "mean"})
    assert patient["mean"] == pytest.approx(harrell_c(mean["time"], mean["event"], mean["risk"]))
    assert region["mean"] != pytest.approx(patient["mean"], abs=1e-3)
    assert region["n_patients"] == patient["n_patients"] == 45
    assert (region["unit"], patient["unit"]) == ("region", "patient")
    # The draws of regions are those of their patients: brute force on one resample of whole patients.
    ids = sorted(mean.index)
    counts = np.random.default_rng(0).multinomial(45, np.full(45, 1 / 45))
    drawn = pd.concat([test[test["patient_id"] == ids[i]] for i in range(45) for _ in range(counts[i])])
    runs = read_runs(indices, tmp_path, unit="region")
    part = next(iter(blocks(runs))).part(0, 0)
    weights = counts.astype(np.float32)[None, :][:, part.position]
    assert c_index(part).resample(weights)[0] == pytest.approx(harrell_c(drawn["time"], drawn["event"], drawn["risk"]))


def test_a_region_without_prediction_leaves_the_patient_to_the_others(hand_made, tmp_path):
    frame = regional(hand_made.cohort_table("north", 40, 1), 2)
    frame.loc[frame["region_id"] == "r1", "risk"] = np.nan  # one of the two regions of the second patient
    lost = frame["patient_id"] == "SIMU-NO-0002"
    frame.loc[lost, "risk"] = np.nan
    indices = written(frame, tmp_path)
    for unit in ("region", "patient"):
        assert scores_of(indices, tmp_path, unit)["reason"] == "1 patient without prediction: SIMU-NO-0002"
    averaged = average_units(frame, "patient").set_index("patient_id")
    kept = frame.loc[frame["region_id"] == "r2", "risk"].item()
    assert averaged.loc["SIMU-NO-0001", "risk"] == kept and "region_id" not in averaged


def test_rows_that_are_patients_already_stay_as_they_are():
    frame = pd.DataFrame(
        {"patient_id": ["a", "a", "b"], "task": "survival", "part": "test", "risk": [1.0, 2.0, 7.0]}
    ).assign(region_id=["1", "2", None], run=0)
    assert average_units(frame, "patient").set_index("patient_id")["risk"].to_dict() == {"a": 1.5, "b": 7.0}
    assert average_units(frame, "region") is frame
    assert average_units(frame.assign(region_id=None), "patient")["risk"].tolist() == [1.0, 2.0, 7.0]
    with pytest.raises(PathomixError, match=r"unit is 'roi'; use one of \['patient', 'region'\]"):
        average_units(frame, "roi")


def test_what_is_wrong_with_regions_is_said(hand_made, tmp_path):
    table = hand_made.cohort_table("north", 36, 1)
    indices = hand_made.write_study(tmp_path, {"a": 0.5}, {"north": table})
    problems = read_runs(indices, tmp_path, unit="region").index["problem"]
    assert problems.str.contains("lacks the columns region_id").all()
    frame = regional(table, 2)
    frame.loc[frame["part"] == "test", "region_id"] = "same"
    indices = written(frame.drop_duplicates(["patient_id", "region_id"]), tmp_path)
    assert read_runs(indices, tmp_path).index["problem"].isna().all()
    doubled = frame.loc[frame["part"] == "test"]
    doubled.to_parquet(tmp_path / "predictions.parquet")
    row = pd.read_parquet(indices[0]).assign(sha256=None)
    write_table(row, RUN_INDEX, indices[0], Provenance("run_index"))
    for unit in ("region", "patient"):
        problem = read_runs(indices, tmp_path, unit=unit).index["problem"].item()
        assert problem.startswith("patients predicted twice: SIMU-NO-0001")
    doubled.assign(region_id=None).to_parquet(tmp_path / "predictions.parquet")
    assert "rows without a region" in read_runs(indices, tmp_path).index["problem"].item()
    doubled.assign(time=np.arange(len(doubled)) + 1.0).to_parquet(tmp_path / "predictions.parquet")
    with pytest.raises(PathomixError, match="disagree about the outcome of patients of c"):
        read_runs(indices, tmp_path)
