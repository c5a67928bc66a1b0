from __future__ import annotations

import json

import pytest

from pathomix.core.errors import PathomixError
from pathomix.simulate.parameters import Parameters


def test_defaults_survive_json() -> None:
    parameters = Parameters()
    assert Parameters.from_dict(json.loads(json.dumps(parameters.to_dict()))) == parameters


def test_nested_values_are_overridden_and_the_rest_kept() -> None:
    parameters = Parameters.from_dict({"seed": 3, "effects": {"image": 0.5}})
    assert (parameters.seed, parameters.effects.image) == (3, 0.5)
    assert parameters.effects.age == Parameters().effects.age
    assert parameters.cohorts == Parameters().cohorts


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"sede": 1}, "sede"),
        ({"effects": {"imagee": 1}}, "imagee"),
        ({"cohorts": {"sim_a": {"patients": 50, "classes": ["x", "y"], "sites": 3}}}, "sites"),
        ({"cohorts": {"sim_a": {"patients": 50}}}, "classes"),
        ({"cohorts": {"sim_a": {"patients": 50, "classes": ["x"]}}}, "sim_a"),
        ({"cohorts": {"sim_a": {"patients": 50, "classes": ["x", "x"]}}}, "sim_a"),
        ({"cohorts": {"sim_a": {"patients": 5, "classes": ["x", "y"]}}}, "sim_a"),
        ({"cohorts": {}}, "cohorts"),
        ({"seed": 1.5}, "1.5"),
        ({"seed": True}, "True"),
        ({"permute_outcomes": 1}, "permute_outcomes"),
        ({"effects": 3}, "effects"),
        ({"slides": {"extent": "wide"}}, "wide"),
    ],
)
def test_bad_content_is_refused_by_name(content: dict[str, object], named: str) -> None:
    with pytest.raises(PathomixError, match=named):
        Parameters.from_dict(content)


def test_unknown_cohort_names_the_known_ones() -> None:
    with pytest.raises(PathomixError, match="sim_b"):
        Parameters().cohort("sim_z")


def test_streams_differ_by_name_and_seed_and_repeat() -> None:
    draws = [
        Parameters(seed=seed).random(*stream).integers(0, 2**62)
        for seed in (0, 1)
        for stream in (("a",), ("b",), ("a", "b"))
    ]
    assert len(set(draws)) == len(draws)
    assert Parameters(seed=0).random("a").integers(0, 2**62) == draws[0]
