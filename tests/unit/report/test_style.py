"""Looks of methods over the figures of several studies."""

from __future__ import annotations

from pathomix.report.style import MUTED, method_looks

PROJECT = [f"m{i}" for i in range(20)]


def test_a_method_looks_the_same_in_every_study_of_a_project():
    first = method_looks(["m3", "m0", "oracle_age", "m17"], PROJECT)
    second = method_looks(["m17", "m4"], PROJECT)
    assert list(first) == ["m3", "m0", "oracle_age", "m17"]
    assert first["m17"] == second["m17"] == method_looks(PROJECT)["m17"]
    assert first["oracle_age"] == (MUTED, "D")
    assert len(set(method_looks(PROJECT).values())) == len(PROJECT)


def test_a_method_outside_the_project_takes_no_look_that_is_taken():
    looks = method_looks([*PROJECT, "stranger"], PROJECT)
    assert len(set(looks.values())) == 21 and {name: looks[name] for name in PROJECT} == method_looks(PROJECT)
