from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from pathomix.cohort.cases import Cases
from pathomix.core.errors import PathomixError
from pathomix.methods.linear import ridge_logistic_path
from pathomix.methods.ridge import Ridge, _best
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
