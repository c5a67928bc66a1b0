from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.multiclass import OneVsRestClassifier

from pathomix.core.errors import PathomixError
from pathomix.survival.concordance import harrell_c
from pathomix.training.probes import UNLABELLED, fit_logistic, subtype_score, survival_score


def sample(patients: int = 120, classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    vectors = generator.normal(1.0, 2.0, (patients, 5)).astype(np.float32)
    label = np.argmax(vectors[:, :classes] + generator.normal(size=(patients, classes)), axis=1)
    return vectors, label.astype(np.int64)


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_equals_scikit_learn(classes: int) -> None:
    vectors, label = sample(classes=classes)
    model = LogisticRegression(solver="liblinear", C=0.5, max_iter=200, random_state=0)
    theirs = OneVsRestClassifier(model).fit(vectors.astype(float), label)
    ours = fit_logistic(vectors, label, inverse_regularisation=0.5)
    assert ours.coefficients == pytest.approx(np.vstack([part.coef_ for part in theirs.estimators_]))
    assert ours.probabilities(vectors) == pytest.approx(theirs.predict_proba(vectors.astype(float)))
    assert ours.predict(vectors).tolist() == theirs.predict(vectors.astype(float)).tolist()


def test_unlabelled_rows_do_not_count_and_codes_may_have_gaps() -> None:
    vectors, label = sample(classes=3)
    codes = np.array([2, 7, 40])[label]
    expected = fit_logistic(vectors, label)
    junk = np.full((9, 5), 1e3)
    probe = fit_logistic(np.vstack([junk, vectors]), np.r_[[UNLABELLED] * 9, codes])
    assert probe.classes.tolist() == [2, 7, 40]
    assert probe.coefficients == pytest.approx(expected.coefficients)
    assert probe.predict(vectors).tolist() == np.array([2, 7, 40])[expected.predict(vectors)].tolist()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 4), st.floats(1e-3, 1e4))
def test_probabilities_are_probabilities_and_agree_with_the_prediction(seed: int, classes: int, scale: float) -> None:
    vectors, label = sample(60, classes, seed)
    probe = fit_logistic(vectors, label)
    far = vectors.astype(float) * scale
    probabilities = probe.probabilities(far)
    assert np.isfinite(probabilities).all()
    assert probabilities.sum(axis=1) == pytest.approx(1.0)
    top = probabilities.max(axis=1)
    assert (probabilities[np.arange(60), np.searchsorted(probe.classes, probe.predict(far))] >= top - 1e-12).all()


def test_subtype_score_is_balanced_accuracy_of_the_labelled_held_out_rows() -> None:
    vectors, label = sample(200)
    held, held_label = sample(80, seed=1)
    held_label[::7] = UNLABELLED
    known = held_label != UNLABELLED
    expected = balanced_accuracy_score(held_label[known], fit_logistic(vectors, label).predict(held[known]))
    assert subtype_score(vectors, label, held, held_label) == pytest.approx(expected)
    assert 0.5 < expected < 1
    assert np.isnan(subtype_score(vectors, label, held, np.full(80, UNLABELLED)))
    # A class that the training part lacks is recalled in no case, and counts.
    odd = np.where(held_label == 2, 9, held_label)
    assert subtype_score(vectors, label, held, odd) < expected
    two = label < 2
    assert subtype_score(vectors[two], label[two], held[known], held_label[known]) < 0.75


def test_survival_score_finds_a_planted_hazard_and_only_that() -> None:
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(400, 8))
    time = generator.exponential(1 / np.exp(1.5 * vectors[:, 3])) + 1e-6
    event = (generator.random(400) < 0.7).astype(int)
    rows = np.arange(400) < 250
    found = survival_score(vectors[rows], time[rows], event[rows], vectors[~rows], time[~rows], event[~rows])
    ceiling = harrell_c(time[~rows], event[~rows], vectors[~rows, 3])
    assert ceiling - 0.03 < found <= ceiling + 0.01
    shuffled = generator.permutation(250)
    null = survival_score(
        vectors[rows][shuffled], time[rows], event[rows], vectors[~rows], time[~rows], event[~rows], penalty=0.1
    )
    assert abs(null - 0.5) < 0.1
    none = np.zeros((~rows).sum())
    assert np.isnan(survival_score(vectors[rows], time[rows], event[rows], vectors[~rows], time[~rows], none))


def test_what_cannot_be_fitted_is_said() -> None:
    vectors, label = sample(30)
    with pytest.raises(PathomixError, match=r"not of two or more classes: 1;"):
        fit_logistic(vectors, np.where(label == 1, 1, UNLABELLED))
    vectors[3] = np.nan
    with pytest.raises(PathomixError, match=r"not finite at labelled rows: 3;"):
        fit_logistic(vectors, label)
