from __future__ import annotations

from dataclasses import dataclass

import pytest

from pathomix.core.errors import PathomixError
from pathomix.core.parameters import check_heads, choice, filled


@dataclass(frozen=True)
class Settings:
    blocks: tuple[str, ...]
    rate: float = 0.5
    epochs: int = 3
    clip: float | None = 5.0


def test_lists_become_tuples_and_integers_may_stand_for_floats() -> None:
    assert filled(Settings, {"blocks": ["age"], "rate": 1, "clip": None}, "m") == Settings(("age",), 1, 3, None)


@pytest.mark.parametrize(
    ("given", "fact"),
    [
        ({"blocks": [], "epoch": 3}, "unknown parameters: epoch"),
        ({}, "parameters are missing: blocks"),
        ({"blocks": [], "epochs": 1.5}, "epochs is 1.5"),
        ({"blocks": [], "rate": "fast"}, "rate is 'fast'"),
        ({"blocks": [], "epochs": True}, "epochs is True"),
    ],
)
def test_what_is_not_understood_is_refused(given: dict, fact: str) -> None:
    with pytest.raises(PathomixError, match=fact):
        filled(Settings, given, "m")


def test_choice() -> None:
    choice("a", ("a", "b"), "key")
    with pytest.raises(PathomixError, match="key is 'c'"):
        choice("c", ("a", "b"), "key")


@pytest.mark.parametrize(("width", "heads"), [(12, 8), (0, 8), (-8, 8), (4, 8), (32, 0), (32, -2)])
def test_a_width_that_heads_cannot_share_is_refused(width: int, heads: int) -> None:
    with pytest.raises(PathomixError, match=f"net: width is {width}, to be shared by {heads} heads"):
        check_heads(width, heads, "net")
    check_heads(32, 2, "net")
