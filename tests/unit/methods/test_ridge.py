from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler

from pathomix.cohort.cases import Cases
from pathomix.core.errors import PathomixError
from pathomix.methods.linear import ridge_logistic_path
from pathomix.methods.ridge import Ridge, _best
from pathomix.survival.concordance import harrell_c
from pathomix.survival.ridge import ridge_cox

Parts = Callable[..., tuple[Cases, Cases, Cases]]


def test_train_and_valid_are_joined_and_scaled_together(cohort: Cases, parts_of: Parts) -> None:
    train, valid, test = parts_of(cohort)
    model = Ridge(blocks=["mutation"], penalties=[7.0]).fit(train, valid, tasks=("survival",), seed=0)
    joined = train.concat(valid)
    values = joined.mutation.to_numpy(float)  # type: ignore[union-attr]
    mean, sd = values.mean(axis=0), values.std(axis=0)
    expected = ridge_cox((values - mean) / sd, joined.patients["time"], joined.patients["event"], 7.0)
    assert model.state()["survival.coefficients"][0] == pytest.approx(expected, abs=1e-8)
    risk = (test.mutation.to_numpy(float) - mean) / sd @ expected  # type: ignore[union-attr]
    assert model.predict(test)["survival"]["risk"].to_numpy() == pytest.approx(risk, abs=1e-7)


def test_every_candidate_is_in_the_history(cohort: Cases, parts_of: Parts) -> None:
    train, valid, _ = parts_of(cohort)
    method = Ridge(blocks=["expression"], penalties=[1, 100], inner_folds=3)
    history = method.fit(train, valid, tasks=("survival", "subtype"), seed=0).history()
    assert len(history) == 2 * 2 * 3
    assert history.groupby("task")["penalty"].unique().map(sorted).tolist() == [[1, 100], [1, 100]]
    assert history["score"].between(0.5, 1).all()


def test_inner_scores_repeated_with_scikit_learn_and_a_scaler_inside_the_folds(cohort: Cases, parts_of: Parts) -> None:
    train, valid, _ = parts_of(cohort)
    history = Ridge(blocks=["copy_number"], penalties=[3.0]).fit(train, valid, tasks=("survival",), seed=5).history()
    joined = train.concat(valid)
    joined = joined.subset(sorted(joined.ids))
    values, time = joined.copy_number.to_numpy(float), joined.patients["time"].to_numpy()  # type: ignore[union-attr]
    event = joined.patients["event"].to_numpy()
    expected = []
    for fitted, held in StratifiedKFold(4, shuffle=True, random_state=5).split(event, event):
        scaler = StandardScaler().fit(values[fitted])
        coefficients = ridge_cox(scaler.transform(values[fitted]), time[fitted], event[fitted], 3.0)
        expected.append(harrell_c(time[held], event[held], scaler.transform(values[held]) @ coefficients))
    assert history["score"].tolist() == pytest.approx(expected, abs=1e-12)


def test_which_patients_are_called_valid_does_not_matter(cohort: Cases, parts_of: Parts) -> None:
    train, valid, _ = parts_of(cohort)
    states = [
        Ridge(blocks=["mutation"]).fit(a, b, tasks=("survival",), seed=0).state()
        for a, b in ((train, valid), (valid.concat(train), train.subset([])))
    ]
    assert all(states[0][name] == pytest.approx(states[1][name], abs=1e-9) for name in states[0])


def test_too_few_patients_for_the_inner_folds(cohort: Cases, parts_of: Parts) -> None:
    train = parts_of(cohort)[0]
    few = train.subset(train.ids[:5])
    with pytest.raises(PathomixError, match="5 training patients are too few for 6 inner folds"):
        Ridge(blocks=["mutation"], inner_folds=6).fit(few, few.subset([]), tasks=("survival",), seed=0)


def test_larger_penalty_of_equals_and_missing_scores() -> None:
    steps = pd.DataFrame({"penalty": [1, 1, 10, 10, 100, 100], "score": [0.7, 0.5, 0.6, 0.6, np.nan, 0.5]})
    assert _best(steps) == 10
    with pytest.raises(PathomixError, match="no inner fold could be scored"):
        _best(steps.assign(score=np.nan))


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("features", [5, 150])
def test_logistic_path_equals_the_direct_fit(classes: int, features: int) -> None:
    generator = np.random.default_rng(0)
    design, label = generator.normal(size=(60, features)), np.arange(60) % classes
    design[:, 0] += label
    coefficients, intercepts = ridge_logistic_path(design, label, [100.0, 2.0])[1]
    direct = LogisticRegression(C=0.5, tol=1e-8, max_iter=10000).fit(design, label)
    scores = design @ coefficients.T + intercepts
    probability = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    assert probability == pytest.approx(direct.predict_proba(design), abs=2e-4)


def test_a_rare_class_absent_from_an_inner_fold_is_no_obstacle(cohort: Cases, parts_of: Parts) -> None:
    train, valid, test = parts_of(cohort)
    label = train.patients["class_label"].to_numpy(dtype=object).copy()
    label[0] = "rare"
    train.patients["class_label"] = label
    model = Ridge(blocks=["expression"]).fit(train, valid, tasks=("subtype",), seed=0)
    predicted = model.predict(test)["subtype"]
    assert list(predicted.columns) == ["probability_rare", "probability_type0", "probability_type1"]
    assert predicted.sum(axis=1).to_numpy() == pytest.approx(1.0)
