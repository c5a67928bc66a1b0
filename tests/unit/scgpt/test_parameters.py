"""Profiles and refusals of the embedding's settings."""

from __future__ import annotations

import pytest

from pathomix.core.errors import PathomixError
from pathomix.scgpt.parameters import PROFILES, EmbeddingSettings, embedding_settings


def test_profiles() -> None:
    assert set(PROFILES) == {"released", "paper", "recommended"}
    assert embedding_settings({}) == EmbeddingSettings() == embedding_settings({"profile": "recommended"})
    released = embedding_settings({"profile": "released"})
    assert (released.length, released.draws, released.ties, released.min_expression) == ("sample", 1, "random", 0.0)
    assert (released.max_length, released.n_bins, released.cls_value, released.l2_normalise) == (1200, 51, None, True)


def test_given_values_win_over_the_profile() -> None:
    assert embedding_settings({"profile": "released", "ties": "low"}).ties == "low"
    # Nothing is drawn from a whole transcriptome.
    assert embedding_settings({"length": "full"}).draws == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"profile": "official"}, "profile is 'official'"),
        ({"length": "all"}, "length is 'all'"),
        ({"ties": "high"}, "ties is 'high'"),
        ({"bin_scope": "panel"}, "bin_scope is 'panel'"),
        ({"precision": "fp16"}, "precision is 'fp16'"),
        ({"max_length": 1}, "too small.*: max_length"),
        ({"draws": 0}, "too small.*: draws"),
        ({"min_expression": -1.0}, "too small.*: min_expression"),
        ({"min_coverage": 1.5}, "min_coverage"),
        ({"length": "full", "draws": 4}, "nothing to draw"),
        ({"bins": 51}, "unknown parameters: bins"),
        ({"draws": "8"}, "draws is '8'"),
    ],
)
def test_refusals(given: dict[str, object], message: str) -> None:
    with pytest.raises(PathomixError, match=message):
        embedding_settings(given)
