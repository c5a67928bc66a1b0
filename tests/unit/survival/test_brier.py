"""Brier score: the definition, what it is without censoring, and its integral."""

from __future__ import annotations

import numpy as np
import pytest

from pathomix.core.errors import PathomixError
from pathomix.survival.brier import brier_terms, integrated
from pathomix.survival.censoring import Censoring

TRAINED = Censoring.of([1, 2, 2, 3, 4, 5, 6, 7, 9], [1, 0, 1, 0, 1, 1, 0, 1, 1])


def test_terms_equal_the_definition_patient_by_patient() -> None:
    time, event, times = [1, 3, 4, 6], [1, 0, 1, 0], [2.0, 4.0, 5.0]
    survival = np.random.default_rng(0).random((4, 3))
    terms = brier_terms(time, event, survival, times, TRAINED)
    for i, (t, e) in enumerate(zip(time, event, strict=True)):
        for k, moment in enumerate(times):
            if t > moment:
                expected = (1 - survival[i, k]) ** 2 / TRAINED.at([moment])[0]
            else:
                expected = survival[i, k] ** 2 / TRAINED.at([t])[0] if e else 0.0
            assert terms[i, k] == pytest.approx(expected, abs=1e-12)


def test_without_censoring_it_is_the_squared_error_and_perfect_knowledge_scores_0() -> None:
    generator = np.random.default_rng(1)
    time, times = generator.exponential(5, 50), np.array([2.0, 4.0, 8.0])
    everybody = Censoring.of(np.append(generator.exponential(5, 30), 99.0), np.ones(31))
    alive = (time[:, None] > times).astype(float)
    guess = generator.random((50, 3))
    assert brier_terms(time, np.ones(50), guess, times, everybody) == pytest.approx((guess - alive) ** 2)
    assert brier_terms(time, np.ones(50), alive, times, everybody).max() == 0.0


def test_the_integral_of_a_straight_line_is_its_middle() -> None:
    times = np.array([1.0, 2.0, 5.0, 9.0])
    assert integrated(np.stack([times, 0 * times + 3]), times) == pytest.approx([5.0, 3.0])
    for wrong in ([1.0], [2.0, 2.0]):
        with pytest.raises(PathomixError, match="cannot be integrated"):
            integrated(np.zeros(len(wrong)), wrong)


def test_times_without_weights_and_wrong_shapes_are_refused() -> None:
    with pytest.raises(PathomixError, match="beyond the follow-up"):
        brier_terms([1], [1], [[0.5, 0.5]], [2.0, 12.0], TRAINED)
    with pytest.raises(PathomixError, match=r"shape \(1, 1\) for 1 patients and 2 times"):
        brier_terms([1], [1], [[0.5]], [2.0, 3.0], TRAINED)
