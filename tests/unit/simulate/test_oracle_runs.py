from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from lifelines.utils import concordance_index

from pathomix.core.errors import PathomixError
from pathomix.core.files import file_digest
from pathomix.core.provenance import Provenance
from pathomix.core.schemas import PATIENTS, PREDICTIONS, RUN_INDEX, SPLITS
from pathomix.core.tables import read_table, write_table
from pathomix.evaluate.leakage import declared_leaks
from pathomix.simulate.oracle_runs import ORACLE_ROWS, Place, write_oracle_runs

PLACE = Place("study", "sim_a", "five_fold")


@pytest.fixture
def files(simulation: Path, tmp_path: Path) -> dict[str, Path]:
    truth_path = simulation / "sim_a" / "truth.parquet"
    truth = pd.read_parquet(truth_path)
    patients = pd.DataFrame(
        {
            "patient_id": truth["patient_id"],
            "time": truth["time"],
            "event": truth["event"],
            "class_label": truth["class"],
        }
    ).assign(endpoint="OS", tissue_source_site="A1", age=60.0, sex="female", stage=None, grade=None)
    # The last patient is in the cohort but in no split.
    folds = np.arange(len(truth) - 1) % 2
    splits = pd.concat(
        pd.DataFrame({"fold": f, "patient_id": truth["patient_id"][:-1], "part": np.where(folds == f, "test", "train")})
        for f in range(2)
    )
    result = {"truth": truth_path, "patients": tmp_path / "patients.parquet", "splits": tmp_path / "splits.parquet"}
    write_table(patients, PATIENTS, result["patients"], Provenance("patients"))
    write_table(splits, SPLITS, result["splits"], Provenance("splits"))
    return result


def test_every_row_is_a_run_of_the_study(files: dict[str, Path], tmp_path: Path) -> None:
    indices = write_oracle_runs(PLACE, files, tmp_path)
    assert [p.relative_to(tmp_path).as_posix() for p in indices] == [
        f"runs/study/{name}/sim_a/five_fold.parquet"
        for name in ("oracle", "oracle_image", "oracle_expression", "oracle_alterations", "oracle_clinical")
    ]
    assert declared_leaks(indices, tmp_path).empty, "each run says that nothing was fitted"
    truth = pd.read_parquet(files["truth"]).set_index("patient_id")
    for path, column in zip(indices, ORACLE_ROWS.values(), strict=True):
        index = read_table(path, RUN_INDEX)
        assert list(index["fold"]) == [0, 1] and set(index["seed"]) == {0} and set(index["status"]) == {"done"}
        for row in index.itertuples():
            assert file_digest(tmp_path / row.path) == row.sha256
            predictions = read_table(tmp_path / row.path, PREDICTIONS)
            assert set(predictions["part"]) == {"train", "test"} and len(predictions) == len(truth) - 1
            known = truth.loc[predictions["patient_id"]]
            np.testing.assert_array_equal(predictions["risk"], known[column])
            np.testing.assert_array_equal(predictions["time"], known["time"])
            assert row.path == f"runs/study/{row.method}/sim_a/five_fold-{row.fold}/seed0/predictions.parquet"


def test_higher_risk_is_worse(files: dict[str, Path], tmp_path: Path) -> None:
    write_oracle_runs(PLACE, files, tmp_path)
    predictions = read_table(tmp_path / "runs/study/oracle/sim_a/five_fold-0/seed0/predictions.parquet", PREDICTIONS)
    assert concordance_index(predictions["time"], -predictions["risk"], predictions["event"]) > 0.75


def test_split_with_a_foreign_patient_is_refused(files: dict[str, Path], tmp_path: Path) -> None:
    splits = read_table(files["splits"], SPLITS)
    splits.loc[0, "patient_id"] = "SIMU-Z9-9999"
    write_table(splits, SPLITS, files["splits"], Provenance("splits"))
    with pytest.raises(PathomixError, match="SIMU-Z9-9999"):
        write_oracle_runs(PLACE, files, tmp_path)
