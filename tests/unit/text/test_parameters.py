from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from pathomix.core.errors import PathomixError
from pathomix.text.parameters import TextParameters
from pathomix.workflow.settings import parameter_names


def test_names_are_read_from_source(root: Path) -> None:
    names = parameter_names(root / "src", "pathomix.text.parameters", "TextParameters")
    assert names == {field.name for field in dataclasses.fields(TextParameters)}


def test_profiles_set_every_switch_and_a_switch_overrides_its_profile() -> None:
    released, recommended = TextParameters.of({"profile": "released"}).rules, TextParameters.of({}).rules
    assert all(released[name] != recommended[name] for name in released)
    assert TextParameters.of({"profile": "paper"}).rules == released
    mixed = TextParameters.of({"profile": "released", "censored": "alive_beyond"}).rules
    assert {name for name in mixed if mixed[name] != released[name]} == {"censored"}


@pytest.mark.parametrize(
    ("given", "fact"),
    [
        ({"colour": "red"}, "unknown parameters: colour"),
        ({"profile": "mine"}, "profile is 'mine', not one of"),
        ({"censored": "dead"}, "censored is 'dead', not one of"),
        ({"bins": 1}, "bins is below 2"),
        ({"bins": "4"}, "bins is '4'"),
        ({"bins": True}, "bins is True"),
        ({"width": "512"}, "width is '512'"),
        ({"width": 0}, "width is below 1"),
        ({"batch_size": 0}, "batch_size is below 1"),
        ({"weights": 3}, "weights is 3"),
        ({"encoder": None}, "encoder is None"),
    ],
)
def test_refused(given: dict, fact: str) -> None:
    with pytest.raises(PathomixError, match=fact):
        TextParameters.of(given)
