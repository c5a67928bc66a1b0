from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pathomix.cohort.cases import Cases
from pathomix.core.errors import PathomixError
from pathomix.core.files import file_digest
from pathomix.core.provenance import Provenance
from pathomix.core.schemas import HISTORY, PREDICTIONS, RUN_INDEX
from pathomix.core.tables import read_provenance, read_table
from pathomix.methods import run
from pathomix.methods.build import build_method
from pathomix.methods.run import Cell, run_cell, run_fold

Fold = Callable[..., pd.DataFrame]
CELL = Cell(
    study="s",
    name="row",
    cohort="c",
    scheme="five",
    configuration={"method": "s_mlp", "blocks": ["expression"], "epochs": 2, "hidden": [8]},
    tasks=("survival", "subtype"),
    seeds=(0, 1),
    code_digest="abc",
    inputs={"patients.parquet": "1"},
)


@pytest.fixture
def splits(cohort: Cases, fold_of: Fold) -> pd.DataFrame:
    return pd.concat([fold_of(cohort, fold=0), fold_of(cohort, fold=1)])


def digests(folder: Path) -> dict[str, str]:
    return {p.relative_to(folder).as_posix(): file_digest(p) for p in sorted(folder.rglob("*")) if p.is_file()}


def test_predictions_of_a_fold(cohort: Cases, fold_of: Fold) -> None:
    split = fold_of(cohort)
    patients = cohort.patients.astype({"class_label": object})
    patients.iloc[:3, patients.columns.get_loc("class_label")] = None
    result = run_fold(build_method(CELL.configuration), replace(cohort, patients=patients), split, CELL.tasks, 0)
    frame = PREDICTIONS.validate(result.predictions)
    for _, rows in frame.groupby("task"):
        assert rows.set_index("patient_id")["part"].to_dict() == split.set_index("patient_id")["part"].to_dict()
    survival = frame[frame["task"] == "survival"].set_index("patient_id").loc[cohort.ids]
    assert survival["risk"].notna().all()
    assert survival["time"].to_numpy() == pytest.approx(cohort.patients["time"].to_numpy())
    subtype = frame[frame["task"] == "subtype"].set_index("patient_id").loc[cohort.ids]
    assert subtype["probability_type0"].notna().all()  # also where the class is not known
    assert subtype["class_label"].isna().sum() == 3
    assert not result.failures
    assert set(HISTORY.validate(result.history)["task"]) == {"survival", "subtype"}


def test_a_task_that_cannot_be_fitted_fails_by_itself(cohort: Cases, fold_of: Fold) -> None:
    flat = replace(cohort, patients=cohort.patients.assign(class_label="type1"))
    result = run_fold(build_method(CELL.configuration), flat, fold_of(flat), CELL.tasks, 0)
    assert list(result.failures) == ["subtype"]
    assert "one class" in result.failures["subtype"]
    assert set(result.predictions["task"]) == {"survival"}


def test_nothing_fitted_leaves_valid_empty_tables(cohort: Cases, fold_of: Fold) -> None:
    result = run_fold(
        build_method(CELL.configuration), replace(cohort, expression=None), fold_of(cohort), CELL.tasks, 0
    )
    assert set(result.failures) == {"survival", "subtype"}
    assert len(PREDICTIONS.validate(result.predictions)) == 0
    assert len(HISTORY.validate(result.history)) == 0


def test_damaged_splits_are_refused(cohort: Cases, fold_of: Fold) -> None:
    split = fold_of(cohort)
    twice = pd.concat([split, split.iloc[:1].assign(part="valid")])
    method = build_method(CELL.configuration)
    with pytest.raises(PathomixError, match="two parts of one fold: SIMU-AA-0000"):
        run_fold(method, cohort, twice, ("survival",), 0)
    with pytest.raises(PathomixError, match="the cohort lacks: SIMU-ZZ-0000"):
        run_fold(method, cohort, split.replace("SIMU-AA-0000", "SIMU-ZZ-0000"), ("survival",), 0)


def test_files_of_a_cell(cohort: Cases, splits: pd.DataFrame, tmp_path: Path) -> None:
    index = tmp_path / "runs/s/row/c/five.parquet"
    run_cell(CELL, cohort, splits, tmp_path, index)
    table = read_table(index, RUN_INDEX)
    assert table[["fold", "seed"]].to_numpy().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert (table["status"] == "done").all()
    for row in table.itertuples():
        assert row.path == f"runs/s/row/c/five-{row.fold}/seed{row.seed}/predictions.parquet"
        assert file_digest(tmp_path / row.path) == row.sha256
        read_table(tmp_path / row.path, PREDICTIONS)
    record = json.loads((tmp_path / "runs/s/row/c/five-1/seed1/run.json").read_text())
    assert record["tasks"] == {"survival": "done", "subtype": "done"}
    assert record["provenance"]["parameters"]["configuration"]["epochs"] == 2
    provenance = read_provenance(tmp_path / table["path"][0])
    assert isinstance(provenance, Provenance)
    assert provenance.inputs["patients.parquet"] == "1"


def test_resume_keeps_finished_units_and_gives_identical_bytes(
    cohort: Cases, splits: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, runs = tmp_path / "index.parquet", tmp_path / "runs"
    run_cell(CELL, cohort, splits, tmp_path, index)
    before = digests(tmp_path)
    folder = runs / "s/row/c/five-0"
    (folder / "seed0/run.json").unlink()  # killed before its record was written
    (folder / "seed1/history.parquet").write_bytes(b"half")  # damaged
    fitted: list[int] = []
    original = run.run_fold

    def counted(method: object, cases: Cases, split: pd.DataFrame, tasks: tuple, seed: int) -> run.FoldResult:
        fitted.append(seed)
        return original(method, cases, split, tasks, seed)  # type: ignore[arg-type]

    monkeypatch.setattr(run, "run_fold", counted)
    run_cell(CELL, cohort, splits, tmp_path, index)
    assert fitted == [0, 1]
    assert digests(tmp_path) == before
    more = splits[splits["fold"] == 0].assign(fold=7)
    run_cell(CELL, cohort, pd.concat([splits, more]), tmp_path, index)
    assert fitted == [0, 1, 0, 1]  # the two seeds of the new fold alone


@pytest.mark.parametrize(
    "change",
    [
        {"configuration": {**CELL.configuration, "epochs": 3}},
        {"code_digest": "other"},
        {"inputs": {"patients.parquet": "2"}},
        {"tasks": ("survival",)},
    ],
)
def test_what_makes_a_unit_run_again(
    cohort: Cases, fold_of: Fold, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict
) -> None:
    cell = replace(CELL, seeds=(0,))
    run_cell(cell, cohort, fold_of(cohort), tmp_path, tmp_path / "i.parquet")
    monkeypatch.setattr(run, "run_fold", lambda *_: (_ for _ in ()).throw(InterruptedError))
    run_cell(cell, cohort, fold_of(cohort), tmp_path, tmp_path / "i.parquet")
    moved = fold_of(cohort).replace({"part": {"valid": "train"}})
    with pytest.raises(InterruptedError):
        run_cell(cell, cohort, moved, tmp_path, tmp_path / "i.parquet")
    with pytest.raises(InterruptedError):
        run_cell(replace(cell, **change), cohort, fold_of(cohort), tmp_path, tmp_path / "i.parquet")


def test_failed_runs_are_listed_with_their_reason(cohort: Cases, fold_of: Fold, tmp_path: Path) -> None:
    index = tmp_path / "i.parquet"
    cell = replace(CELL, seeds=(0,))
    run_cell(cell, replace(cohort, expression=None), fold_of(cohort), tmp_path, index)
    row = read_table(index, RUN_INDEX).iloc[0]
    assert (row["status"], row["path"]) == ("failed", None)
    assert row["reason"].startswith("subtype: no training patient has the feature blocks: expression; ")
    flat = replace(cohort, patients=cohort.patients.assign(event=0))
    run_cell(replace(cell, inputs={"patients.parquet": "3"}), flat, fold_of(cohort), tmp_path, index)
    row = read_table(index, RUN_INDEX).iloc[0]
    assert (row["status"], row["task"]) == ("done", "survival,subtype")
    assert row["reason"].startswith("survival: no event")
    assert np.isfinite(read_table(tmp_path / row["path"], PREDICTIONS)["probability_type0"]).all()


class _Together:
    """Wraps a method and records which tasks each call of `fit` received."""

    def __init__(self, joint_tasks: bool) -> None:
        self.joint_tasks = joint_tasks
        self.inner = build_method(CELL.configuration)
        self.calls: list[tuple[str, ...]] = []

    def fit(self, train: Cases, valid: Cases, *, tasks: tuple[str, ...], seed: int) -> object:
        self.calls.append(tuple(tasks))
        return self.inner.fit(train, valid, tasks=tasks, seed=seed)


@pytest.mark.parametrize(
    ("joint", "calls"), [(True, [("survival", "subtype")]), (False, [("survival",), ("subtype",)])]
)
def test_joint_methods_get_all_tasks_in_one_fit(
    cohort: Cases, fold_of: Fold, joint: bool, calls: list[tuple[str, ...]]
) -> None:
    method = _Together(joint)
    result = run_fold(method, cohort, fold_of(cohort), CELL.tasks, 0)
    assert method.calls == calls
    assert set(result.predictions["task"]) == {"survival", "subtype"}


def test_tasks_fitted_together_fail_together(cohort: Cases, fold_of: Fold) -> None:
    alive = replace(cohort, patients=cohort.patients.assign(event=0))
    together = run_fold(_Together(True), alive, fold_of(cohort), CELL.tasks, 0)
    assert set(together.failures) == {"survival", "subtype"}
    apart = run_fold(_Together(False), alive, fold_of(cohort), CELL.tasks, 0)
    assert set(apart.failures) == {"survival"}
    assert set(apart.predictions["task"]) == {"subtype"}
