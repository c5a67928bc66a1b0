"""Censoring weights: what they are, and where they do not exist."""

from __future__ import annotations

import numpy as np
import pytest

from pathomix.core.errors import PathomixError
from pathomix.survival.censoring import Censoring

TRAINED = Censoring.of([1, 2, 3, 4, 5, 6], [1, 0, 1, 0, 1, 0])  # G: 4/5 from 2, 4/5 * 2/3 from 4, 0 from 6


def test_weights_of_events_are_the_inverse_of_the_probability_of_being_followed() -> None:
    weights = TRAINED.weights([0.5, 2, 4.5, 5, 9], [1, 1, 1, 0, 0])
    assert weights == pytest.approx([1, 5 / 4, 15 / 8, 0, 0])


def test_only_events_up_to_the_end_need_a_weight() -> None:
    assert TRAINED.weights([1, 9], [1, 1], until=5) == pytest.approx([1, 0])
    with pytest.raises(PathomixError, match=r"9\.0 lies beyond the follow-up of the training part, which ends at 6\.0"):
        TRAINED.weights([1, 9], [1, 1])


@pytest.mark.parametrize(("until", "reason"), [(6.0, "is censored by 6.0"), (6.5, "beyond the follow-up")])
def test_where_there_are_no_weights_is_said(until: float, reason: str) -> None:
    assert TRAINED.problem(5.9) is None
    assert reason in str(TRAINED.problem(until))
    with pytest.raises(PathomixError, match=reason):
        TRAINED.at(np.array([1.0, until]))
