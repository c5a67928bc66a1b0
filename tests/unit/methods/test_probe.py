from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pathomix.cohort.cases import Cases
from pathomix.core.errors import PathomixError
from pathomix.core.files import file_digest
from pathomix.methods.build import build_method
from pathomix.methods.run import Cell, run_cell, run_fold
from pathomix.survival.concordance import harrell_c
from pathomix.survival.probe_cox import probe_cox
from pathomix.training.probes import fit_logistic

Parts = Callable[..., tuple[Cases, Cases, Cases]]
TASKS = ("survival", "subtype")


def embedded(cases: Cases, seed: int = 0, without: int = 0) -> Cases:
    """Vectors that hold the planted latent and class, noise besides; the last `without` patients have none."""
    assert cases.expression is not None
    generator = np.random.default_rng(seed)
    genes = cases.expression.to_numpy()
    signal = np.c_[genes[:, :10].mean(axis=1), genes[:, 10:20].mean(axis=1)]
    values = np.c_[signal, generator.normal(size=(len(genes), 6)), np.zeros(len(genes))].astype(np.float32)
    frame = pd.DataFrame(values, cases.ids)
    return replace(cases, vectors=frame.iloc[: len(frame) - without])


def probe(**parameters: object) -> object:
    return build_method({"method": "probe", **parameters})


def test_is_the_library_probe_of_the_training_part_alone(cohort: Cases, parts_of: Parts) -> None:
    train, valid, test = parts_of(embedded(cohort))
    model = probe().fit(train, valid, tasks=TASKS, seed=0)
    predicted = model.predict(test)
    x, time, event = train.vectors, train.patients["time"].to_numpy(), train.patients["event"].to_numpy()
    expected = probe_cox(x, time, event, 0.1).log_hazard(test.vectors)
    assert predicted["survival"]["risk"].to_numpy() == pytest.approx(expected)
    label = (train.patients["class_label"] == "type1").to_numpy(int)
    classes = predicted["subtype"]
    assert list(classes) == ["probability_type0", "probability_type1"]
    assert classes.to_numpy() == pytest.approx(fit_logistic(x, label).probabilities(test.vectors))
    risk = predicted["survival"]["risk"]
    assert harrell_c(test.patients["time"], test.patients["event"], risk) > 0.7
    assert {"survival.coefficients", "survival.mean", "subtype.coefficients", "subtype.intercepts"} <= set(
        model.state()
    )
    assert model.history()["patients"].tolist() == [len(train.ids)] * 2


def test_a_patient_without_vector_has_no_prediction_and_moves_no_other(cohort: Cases, parts_of: Parts) -> None:
    full, lacking = parts_of(embedded(cohort)), parts_of(embedded(cohort, without=30))
    gone = full[2].ids.difference(lacking[2].vectors.index)
    assert 0 < len(gone) < len(full[2].ids)
    predicted = probe().fit(lacking[0], lacking[1], tasks=TASKS, seed=0).predict(lacking[2])
    for frame in predicted.values():
        assert frame.index.equals(full[2].ids)
        assert frame.loc[gone].isna().all(axis=None)
        assert frame.drop(gone).notna().all(axis=None)
    present = lacking[0].subset(lacking[0].vectors.index)
    alone = probe().fit(present, lacking[1], tasks=TASKS, seed=0).predict(lacking[2])
    pd.testing.assert_frame_equal(alone["survival"], predicted["survival"])


def test_standardised_logistic_probe_ignores_scale_and_shift(cohort: Cases, parts_of: Parts) -> None:
    cases = embedded(cohort)
    factors = np.geomspace(1e-4, 1e4, 9)
    moved = replace(cases, vectors=cases.vectors * factors + 7 * factors)

    def subtype(given: Cases, standardise: bool) -> np.ndarray:
        train, valid, test = parts_of(given)
        model = probe(standardise=standardise).fit(train, valid, tasks=["subtype"], seed=0)
        return model.predict(test)["subtype"].to_numpy()

    assert subtype(moved, True) == pytest.approx(subtype(cases, True), abs=1e-3)
    assert np.abs(subtype(moved, False) - subtype(cases, False)).max() > 0.05


def test_strata_and_convergence_are_passed_on(cohort: Cases, parts_of: Parts) -> None:
    train, valid, _ = parts_of(embedded(cohort))
    time, event = train.patients["time"].to_numpy(), train.patients["event"].to_numpy()
    for strata, labels in (("none", None), ("class_label", train.patients["class_label"].astype(str).to_numpy())):
        for convergence in ("optimum", "lifelines"):
            model = probe(strata=strata, convergence=convergence).fit(train, valid, tasks=["survival"], seed=0)
            expected = probe_cox(train.vectors, time, event, 0.1, strata=labels, convergence=convergence)
            assert model.state()["survival.coefficients"] == pytest.approx(expected.coefficients, rel=1e-10)
    unlabelled = train.patients.astype({"class_label": object})
    unlabelled.iloc[3, unlabelled.columns.get_loc("class_label")] = None
    with pytest.raises(PathomixError, match=rf"no class_label to stratify.*{train.ids[3]}"):
        probe(strata="class_label").fit(replace(train, patients=unlabelled), valid, tasks=["survival"], seed=0)


def test_bad_input_is_said(cohort: Cases, parts_of: Parts) -> None:
    train, valid, test = parts_of(embedded(cohort))
    with pytest.raises(PathomixError, match="was given none; name a `representation` for the row"):
        probe().fit(replace(train, vectors=None), valid, tasks=TASKS, seed=0)
    with pytest.raises(PathomixError, match=rf"none of the {len(train.ids)} training patients has a vector"):
        probe().fit(replace(train, vectors=train.vectors.iloc[:0]), valid, tasks=TASKS, seed=0)
    damaged = train.vectors.copy()
    damaged.iloc[5, 2] = np.inf
    with pytest.raises(PathomixError, match=rf"not finite: {train.ids[5]};"):
        probe().fit(replace(train, vectors=damaged), valid, tasks=TASKS, seed=0)
    model = probe().fit(train, valid, tasks=TASKS, seed=0)
    with pytest.raises(PathomixError, match="8 dimensions, the probe was fitted on 9"):
        model.predict(replace(test, vectors=test.vectors.iloc[:, 1:]))
    censored = train.patients.assign(event=0)
    with pytest.raises(PathomixError, match="no event"):
        probe().fit(replace(train, patients=censored), valid, tasks=["survival"], seed=0)
    for wrong in ({"penalty": 0.0}, {"max_iter": 0}, {"strata": "age"}, {"convergence": "loose"}, {"penalties": [1]}):
        with pytest.raises(PathomixError):
            probe(**wrong)


class Store:
    """Vectors drawn anew for every fold and seed."""

    def __init__(self, cases: Cases) -> None:
        self.cases, self.asked = cases, []

    def of(self, fold: int, seed: int) -> pd.DataFrame:
        self.asked.append((fold, seed))
        return embedded(self.cases, 10 * fold + seed).vectors


def test_every_fold_and_seed_is_fitted_on_its_own_vectors(
    cohort: Cases, fold_of: Callable[..., pd.DataFrame], tmp_path: Path
) -> None:
    splits = pd.concat([fold_of(cohort, fold=0), fold_of(cohort, fold=1)])
    cell = Cell("s", "lp", "c", "five", {"method": "probe"}, TASKS, (0, 2), "", {"vectors-general-seed0": "1"})
    store = Store(cohort)
    run_cell(cell, cohort, splits, tmp_path, tmp_path / "index.parquet", store)
    assert store.asked == [(0, 0), (0, 2), (1, 0), (1, 2)]
    for fold, seed in store.asked:
        written = tmp_path / f"runs/s/lp/c/five-{fold}/seed{seed}/predictions.parquet"
        own = replace(cohort, vectors=embedded(cohort, 10 * fold + seed).vectors)
        expected = run_fold(probe(), own, splits[splits["fold"] == fold], TASKS, seed).predictions
        keys = ["task", "part", "patient_id"]
        found = pd.read_parquet(written).set_index(keys)["risk"]
        assert found.to_numpy() == pytest.approx(expected.set_index(keys)["risk"].loc[found.index], nan_ok=True)
    before = file_digest(tmp_path / "runs/s/lp/c/five-0/seed0/predictions.parquet")
    run_cell(cell, cohort, splits, tmp_path, tmp_path / "index.parquet", store)
    assert len(store.asked) == 4  # kept, without reading vectors again
    assert file_digest(tmp_path / "runs/s/lp/c/five-0/seed0/predictions.parquet") == before
    other = replace(cell, inputs={"vectors-survival-seed0": "1"})
    run_cell(other, cohort, splits, tmp_path, tmp_path / "index.parquet", store)
    assert len(store.asked) == 8
