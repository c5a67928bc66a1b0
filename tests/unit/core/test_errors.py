"""Errors say fact, offending ids and next step."""

from __future__ import annotations

import argparse
import pickle
import sys

import pytest

from pathomix.core import script
from pathomix.core.errors import PathomixError
from pathomix.core.provenance import Provenance


def test_message_names_eight_ids_and_counts_the_rest() -> None:
    error = PathomixError("table t: bad rows", offending=range(10), remedy="correct them")
    assert str(error) == "table t: bad rows: 0, 1, 2, 3, 4, 5, 6, 7 and 2 more; correct them"
    assert str(PathomixError("no file", remedy="make it")) == "no file; make it"


def test_survives_a_worker_process() -> None:
    error = pickle.loads(pickle.dumps(PathomixError("fact", offending=["a"], remedy="do")))
    assert (error.fact, error.offending, error.remedy) == ("fact", ["a"], "do")


def test_a_script_prints_one_line_and_fails(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def main(options: argparse.Namespace) -> None:
        raise PathomixError("fact", remedy="do this")

    monkeypatch.setattr(sys, "argv", ["x", "--threads", "1"])
    with pytest.raises(SystemExit) as ended:
        script.run(main, script.parser("test"))
    assert ended.value.code == 1
    assert capsys.readouterr().err.splitlines()[-1] == "error: fact; do this"


def test_parameters_have_to_be_an_object() -> None:
    assert script.json_object('{"a": 1}') == {"a": 1}
    with pytest.raises(argparse.ArgumentTypeError, match="JSON object"):
        script.json_object("[1]")


def test_provenance_round_trip() -> None:
    provenance = Provenance("patients", inputs={"a": "0" * 64}, parameters={"b": [1]})
    assert Provenance.from_json(provenance.to_json()) == provenance
