from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lifelines.utils import concordance_index
from sklearn.metrics import balanced_accuracy_score

from pathomix.cohort.cases import Cases
from pathomix.cohort.inner_splits import INNER_SPLITS, inner_splits
from pathomix.cohort.parts import parts_of
from pathomix.core.errors import PathomixError
from pathomix.core.files import content_key, file_digest
from pathomix.core.fitting import note_fitted
from pathomix.core.schemas import HISTORY, PREDICTIONS, RUN_INDEX
from pathomix.core.tables import read_table
from pathomix.core.units import split_key
from pathomix.evaluate.leakage import LeakageError, check_fitted
from pathomix.methods import run, tuning
from pathomix.methods.build import build_method
from pathomix.methods.run import Cell, run_cell, run_fold
from pathomix.methods.tuning import Tuned, Tuning

Fold = Callable[..., pd.DataFrame]
BOTH = ("survival", "subtype")
RIDGE = {"method": "ridge", "blocks": ["mutation"], "inner_folds": 2}
PENALTIES = {"penalties": [[1e6], [0.01], [30.0]]}
CELL = Cell("s", "row", "c", "five", RIDGE, BOTH, (0,), "abc", {"patients.parquet": "1"})


def nested(split: pd.DataFrame, folds: int = 3) -> pd.DataFrame:
    """Inner folds by position within the training part of every outer fold, one patient in eight as valid part."""
    tables = []
    for fold, rows in split.groupby("fold"):
        ids = rows.loc[rows["part"] == "train", "patient_id"].to_numpy()
        for inner in range(folds):
            place = np.arange(len(ids))
            part = np.where(place % folds == inner, "test", np.where(place % 8 == 0, "valid", "train"))
            tables.append(pd.DataFrame({"fold": fold, "inner_fold": inner, "patient_id": ids, "part": part}))
    return INNER_SPLITS.validate(pd.concat(tables))


def search(grid: Mapping[str, list], split: pd.DataFrame, configuration: Mapping[str, Any] = RIDGE) -> Tuned:
    return Tuned(configuration, Tuning(grid, 9, nested(split)), split, "row on c, fold 0, seed 0")


# candidates


def test_a_grid_within_the_budget_is_used_whole_in_order() -> None:
    found = Tuning({"b": [1, 2], "a": ["x", "y"]}, 4, pd.DataFrame()).candidates
    assert found == ({"a": "x", "b": 1}, {"a": "x", "b": 2}, {"a": "y", "b": 1}, {"a": "y", "b": 2})


@given(lengths=st.lists(st.integers(1, 5), min_size=1, max_size=4), budget=st.integers(1, 40))
def test_candidates_are_distinct_members_of_the_grid(lengths: list[int], budget: int) -> None:
    grid = {f"p{i}": list(range(length)) for i, length in enumerate(lengths)}
    plan = Tuning(grid, budget, pd.DataFrame())
    found = plan.candidates
    assert len(found) == min(budget, int(np.prod(lengths)))
    assert len({tuple(sorted(c.items())) for c in found}) == len(found)
    assert all(c.keys() == grid.keys() and all(c[k] in grid[k] for k in grid) for c in found)
    assert Tuning(dict(reversed(grid.items())), budget, pd.DataFrame()).candidates == found


def test_the_draw_reaches_the_whole_grid_and_depends_on_it() -> None:
    drawn = [Tuning({"a": list(range(k, k + 30))}, 3, pd.DataFrame()).candidates for k in range(40)]
    places = {candidate["a"] - k for k, found in enumerate(drawn) for candidate in found}
    assert len(places) > 25


@pytest.mark.parametrize(("grid", "budget"), [({}, 3), ({"a": []}, 3), ({"a": [1]}, 0)])
def test_no_grid_is_refused(grid: dict, budget: int) -> None:
    with pytest.raises(PathomixError, match="a grid needs values"):
        Tuning(grid, budget, pd.DataFrame())


# the choice, with real methods


def test_choice_and_scores_are_those_of_brute_force(cohort: Cases, fold_of: Fold) -> None:
    split = fold_of(cohort)
    tuned = search(PENALTIES, split)
    result = run_fold(tuned, cohort, split, BOTH, 3)
    chosen = tuned.facts()["chosen"]
    history = HISTORY.validate(tuned.history(result.history))
    for task in BOTH:
        scores = np.zeros((3, 3))
        for candidate, penalty in enumerate(PENALTIES["penalties"]):
            for fold, rows in inner_splits(nested(split), 0).groupby("fold"):
                parts = parts_of(cohort, rows)
                method = build_method({**RIDGE, "penalties": penalty})
                predicted = method.fit(parts["train"], parts["valid"], tasks=(task,), seed=3).predict(parts["test"])
                frame, patients = predicted[task], parts["test"].patients
                if task == "survival":
                    score = concordance_index(patients["time"], -frame["risk"], patients["event"])
                else:
                    named = frame.idxmax(axis=1).str.removeprefix("probability_")
                    score = balanced_accuracy_score(patients["class_label"], named)
                scores[candidate, int(str(fold))] = score
        rows = history[(history["task"] == task) & history["tuning_settings"].notna()]
        assert rows["tuning_score"].to_numpy().reshape(3, 3) == pytest.approx(scores, abs=1e-9)
        assert chosen[task]["candidate"] == scores.mean(axis=1).argmax()
        assert chosen[task]["score"] == pytest.approx(scores.mean(axis=1).max())
        assert rows["step"].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
        refitted = run_fold(build_method({**RIDGE, **chosen[task]["settings"]}), cohort, split, (task,), 3)
        own = result.predictions[result.predictions["task"] == task].dropna(axis=1, how="all").reset_index(drop=True)
        pd.testing.assert_frame_equal(
            own, refitted.predictions.dropna(axis=1, how="all"), check_exact=True, check_like=True
        )
    assert any(chosen[task]["candidate"] for task in BOTH)  # not the first by default


def test_nobody_outside_of_the_training_part_moves_the_choice(cohort: Cases, fold_of: Fold) -> None:
    split = fold_of(cohort)
    outside = cohort.ids.isin(split.loc[split["part"] != "train", "patient_id"])
    patients, mutation = cohort.patients.copy(), cohort.mutation.copy()  # type: ignore[union-attr]
    patients.loc[outside, "time"] = patients.loc[outside, "time"].to_numpy()[::-1]
    patients.loc[outside, "event"] = 1 - patients.loc[outside, "event"]
    mutation.loc[outside] = 1 - mutation.loc[outside]
    found = []
    for cases in (cohort, replace(cohort, patients=patients, mutation=mutation)):
        tuned = search(PENALTIES, split)
        run_fold(tuned, cases, split, ("survival",), 0)
        found.append((tuned.facts(), tuned.history(pd.DataFrame())))
    assert found[0][0] == found[1][0]
    pd.testing.assert_frame_equal(found[0][1], found[1][1], check_exact=True)


def test_ties_go_to_the_first(cohort: Cases, fold_of: Fold) -> None:
    split = fold_of(cohort)
    tuned = search({"inner_folds": [4, 2, 3]}, split, {**RIDGE, "penalties": [10.0]})
    run_fold(tuned, cohort, split, ("survival",), 0)
    assert tuned.facts()["chosen"]["survival"]["candidate"] == 0


def test_a_candidate_that_fails_is_named_and_not_chosen(cohort: Cases, fold_of: Fold) -> None:
    split, cases = fold_of(cohort), replace(cohort, copy_number=None)
    tuned = search({"blocks": [["copy_number"], ["mutation"]]}, split)
    result = run_fold(tuned, cases, split, ("survival",), 0)
    assert not result.failures
    assert tuned.facts()["chosen"]["survival"]["settings"] == {"blocks": ["mutation"]}
    history = tuned.history(result.history)
    failed = history[(history["step"] == 0) & history["tuning_settings"].notna()]
    assert failed["tuning_score"].isna().all()
    assert failed["tuning_reason"].str.contains("copy_number").all()


def test_where_no_candidate_can_be_fitted_the_task_fails_and_the_history_stays(cohort: Cases, fold_of: Fold) -> None:
    split = fold_of(cohort)
    flat = replace(cohort, patients=cohort.patients.assign(event=0))
    tuned = search(PENALTIES, split)
    result = run_fold(tuned, flat, split, BOTH, 0)
    assert list(result.failures) == ["survival"]
    assert result.failures["survival"].startswith("none of 3 candidates could be scored")
    assert "no event" in result.failures["survival"]
    history = HISTORY.validate(tuned.history(result.history))
    assert (history["task"] == "survival").sum() == 9
    assert list(tuned.facts()["chosen"]) == ["subtype"]


# the choice, with planted scores


class Planted:
    """Predicts `right` of the held-out patients right, the others wrong, as its settings say."""

    def __init__(self, joint: bool = False, everyone: tuple[str, ...] = (), **settings: Any) -> None:
        self.joint_tasks, self.everyone, self.settings = joint, everyone, settings

    def fit(self, train: Cases, valid: Cases, *, tasks: tuple, seed: int) -> Planted:
        note_fitted("training", train.ids)
        note_fitted("scaler", self.everyone or train.ids)
        return self

    def predict(self, cases: Cases) -> dict[str, pd.DataFrame]:
        time, label = cases.patients["time"], cases.patients["class_label"]
        share = pd.Series(np.arange(len(time)) / len(time), time.index)
        risk = np.where(share < self.settings.get("survival", 1), -time, time)
        if any(patient in cases.ids for patient in self.settings.get("lost", ())) and len(time) < 60:
            risk = np.full(len(time), np.inf)
        right = (label == "type1") == (share < self.settings.get("subtype", 1))
        classes = pd.DataFrame({"probability_type0": 1.0 - right, "probability_type1": right.astype(float)})
        return {"survival": pd.DataFrame({"risk": risk}, time.index), "subtype": classes}

    def state(self) -> dict:
        return {}

    def history(self) -> pd.DataFrame:
        return pd.DataFrame({"task": ["survival"], "step": [0]})


@pytest.mark.parametrize(("joint", "expected"), [(False, (0, 1)), (True, (2, 2))])
def test_joint_tasks_share_the_choice(
    cohort: Cases, fold_of: Fold, monkeypatch: pytest.MonkeyPatch, joint: bool, expected: tuple[int, int]
) -> None:
    pairs = [(1.0, 0.2), (0.2, 1.0), (0.9, 0.9)]
    monkeypatch.setattr(
        tuning, "build_method", lambda c: Planted(joint, survival=pairs[c["n"]][0], subtype=pairs[c["n"]][1])
    )
    split = fold_of(cohort)
    tuned = search({"n": [0, 1, 2]}, split)
    run_fold(tuned, cohort, split, BOTH, 0)
    chosen = tuned.facts()["chosen"]
    assert (chosen["survival"]["candidate"], chosen["subtype"]["candidate"]) == expected


def test_a_candidate_without_one_folds_score_is_out(
    cohort: Cases, fold_of: Fold, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = fold_of(cohort)
    lost = nested(split).query("inner_fold == 1 and part == 'test'")["patient_id"].tolist()
    settings = [{"survival": 1.0, "lost": lost}, {"survival": 0.7}, {"survival": 0.8}]
    monkeypatch.setattr(tuning, "build_method", lambda c: Planted(**settings[c["n"]]))
    tuned = search({"n": [0, 1, 2]}, split)
    run_fold(tuned, cohort, split, ("survival",), 0)
    assert tuned.facts()["chosen"]["survival"]["candidate"] == 2
    history = tuned.history(pd.DataFrame()).query("step == 0")
    assert history["tuning_score"].isna().tolist() == [False, True, False]
    assert "no finite predictions for" in history["tuning_reason"].iloc[1]


def test_a_fold_that_nobody_can_be_scored_in_counts_for_none(
    cohort: Cases, fold_of: Fold, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = fold_of(cohort)
    censored = nested(split).query("inner_fold == 0 and part == 'test'")["patient_id"]
    patients = cohort.patients.copy()
    patients.loc[censored, "event"] = 0
    monkeypatch.setattr(tuning, "build_method", lambda c: Planted(survival=[0.6, 0.9][c["n"]]))
    tuned = search({"n": [0, 1]}, split)
    run_fold(tuned, replace(cohort, patients=patients), split, ("survival",), 0)
    chosen = tuned.facts()["chosen"]["survival"]
    assert (chosen["candidate"], chosen["scored_folds"]) == (1, 2)
    empty = tuned.history(pd.DataFrame()).query("tuning_fold == 0")
    assert (empty["tuning_reason"] == "no two held-out patients compare").all()


# leakage


def test_inner_fits_see_their_own_training_part_alone(cohort: Cases, fold_of: Fold, tmp_path: Path) -> None:
    split = fold_of(cohort)
    fits = []

    def kept(fit: Any) -> None:
        check_fitted(fit)
        fits.append(fit)

    plan = Tuning(PENALTIES, 3, nested(split))
    run_cell(replace(CELL, tasks=("survival",)), cohort, split, tmp_path, tmp_path / "i", guard=kept, tuning=plan)
    assert len(fits) == 3 * 3 + 1
    train = set(split.loc[split["part"] == "train", "patient_id"])
    for fit in fits[:-1]:
        assert fit.record.ids("training") == set(fit.parts["train"]) | set(fit.parts["valid"])
        assert not fit.record.ids("scaler") & set(fit.parts["test"])
        assert set().union(*fit.parts.values()) <= train
    assert set(fits[-1].parts["test"]).isdisjoint(set().union(*map(fits[-1].record.ids, fits[-1].record.steps)))
    assert fits[-1].record.ids("selection") >= train


def test_a_method_that_looks_at_an_inner_test_part_is_caught(
    cohort: Cases, fold_of: Fold, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = fold_of(cohort)
    train = tuple(split.loc[split["part"] == "train", "patient_id"])
    monkeypatch.setattr(tuning, "build_method", lambda c: Planted(everyone=train))
    plan = Tuning({"n": [0, 1]}, 2, nested(split))
    with pytest.raises(LeakageError, match="inner fold 0, candidate"):
        run_cell(CELL, cohort, split, tmp_path, tmp_path / "i.parquet", guard=check_fitted, tuning=plan)
    assert not list(tmp_path.rglob("*.parquet"))


@pytest.mark.parametrize("part", ["valid", "test"])
def test_inner_splits_of_other_patients_are_refused(cohort: Cases, fold_of: Fold, tmp_path: Path, part: str) -> None:
    split = fold_of(cohort)
    foreign = split.loc[split["part"] == part, "patient_id"].iloc[0]
    inner = nested(split)
    inner.loc[0, "patient_id"] = foreign
    with pytest.raises(PathomixError, match=f"outside of its training part: {foreign}"):
        run_cell(CELL, cohort, split, tmp_path, tmp_path / "i", tuning=Tuning(PENALTIES, 3, inner))
    with pytest.raises(PathomixError, match="no outer fold 0"):
        run_cell(
            CELL, cohort, split, tmp_path, tmp_path / "i", tuning=Tuning(PENALTIES, 3, nested(split.assign(fold=1)))
        )


def test_a_candidate_that_the_method_refuses_stops_the_cell(cohort: Cases, fold_of: Fold, tmp_path: Path) -> None:
    plan = Tuning({"penalties": [[1.0], [-1.0]]}, 2, nested(fold_of(cohort)))
    with pytest.raises(PathomixError, match=r'candidate \{"penalties": \[-1.0\]\}: ridge'):
        run_cell(CELL, cohort, fold_of(cohort), tmp_path, tmp_path / "i", tuning=plan)


# files


def test_files_of_a_tuned_cell_and_what_makes_them_again(
    cohort: Cases, fold_of: Fold, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split, index = fold_of(cohort), tmp_path / "i.parquet"
    plan = Tuning(PENALTIES, 2, nested(split))
    run_cell(CELL, cohort, split, tmp_path, index, tuning=plan)
    folder = tmp_path / "runs/s/row/c/five-0/seed0"
    record = json.loads((folder / "run.json").read_text())
    facts = record["tuning"]
    assert {k: facts[k] for k in ("budget", "grid", "examined", "whole_grid", "inner_folds")} == {
        "budget": 2, "grid": 3, "examined": 2, "whole_grid": False, "inner_folds": 3,
    }  # fmt: skip
    assert set(facts["chosen"]) == set(BOTH)
    assert record["provenance"]["parameters"]["tuning"]["budget"] == 2
    history = read_table(folder / "history.parquet", HISTORY)
    assert history["tuning_settings"].notna().sum() == 2 * 2 * 3
    assert history["tuning_settings"].isna().any()  # the fit of the chosen candidate
    before = {p: file_digest(p) for p in tmp_path.rglob("*.parquet")}
    read_table(index, RUN_INDEX)
    (folder / "run.json").unlink()
    run_cell(CELL, cohort, split, tmp_path, index, tuning=plan)
    assert {p: file_digest(p) for p in tmp_path.rglob("*.parquet")} == before

    monkeypatch.setattr(run, "run_fold", lambda *_: (_ for _ in ()).throw(InterruptedError))
    more = pd.concat([split, split.assign(fold=1)])
    with pytest.raises(InterruptedError):  # of the new fold: that of the first is kept
        run_cell(CELL, cohort, more, tmp_path, index, tuning=Tuning(PENALTIES, 2, nested(more)))
    run_cell(CELL, cohort, split, tmp_path, index, tuning=Tuning(PENALTIES, 2, nested(more)))
    for other in (
        Tuning(PENALTIES, 3, nested(split)),
        Tuning({"penalties": [[1.0], [2.0]]}, 2, nested(split)),
        Tuning(PENALTIES, 2, nested(split, folds=2)),
        None,
    ):
        with pytest.raises(InterruptedError):
            run_cell(CELL, cohort, split, tmp_path, index, tuning=other)


def test_a_row_that_is_not_tuned_is_what_it_was(cohort: Cases, fold_of: Fold, tmp_path: Path) -> None:
    split = fold_of(cohort)
    run_cell(CELL, cohort, split, tmp_path, tmp_path / "i.parquet")
    folder = tmp_path / "runs/s/row/c/five-0/seed0"
    record = json.loads((folder / "run.json").read_text())
    assert set(record) == {"key", "provenance", "tasks", "failures", "fitted_on", "files"}
    assert record["provenance"]["inputs"] == {"patients.parquet": "1", "splits": split_key(split)}
    assert record["provenance"]["parameters"] == {
        "configuration": RIDGE, "tasks": list(BOTH), "code": "abc", "fold": 0, "seed": 0,
    }  # fmt: skip
    assert record["key"] == content_key(**{k: v for k, v in record["provenance"].items() if k != "artifact"})
    assert not [c for c in read_table(folder / "history.parquet", HISTORY).columns if c.startswith("tuning")]
    parts = parts_of(cohort, split)
    alone = build_method(RIDGE).fit(parts["train"], parts["valid"], tasks=("survival",), seed=0)
    written = (
        read_table(folder / "predictions.parquet", PREDICTIONS).query("task == 'survival'").set_index("patient_id")
    )
    for name, part in parts.items():
        expected = alone.predict(part)["survival"]["risk"]
        assert written.loc[part.ids, "risk"].tolist() == expected.tolist(), name
