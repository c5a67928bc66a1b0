"""What Snakemake remembers of a file, and its sentence on parameters."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pathomix.workflow.made import METADATA, Made, parameter_changes, read_made

UNION = "Params have changed since last execution: Union of exclusive params before and now across all output: "


def keep(root: Path, file: str, content: str) -> None:
    """As Snakemake writes it: names over 254 characters become folders."""
    name = base64.urlsafe_b64encode(file.encode()).decode()
    pieces = [name[start : start + 254] for start in range(0, len(name), 254)]
    path = root.joinpath(METADATA, *(f"@{piece}" for piece in pieces[:-1]), pieces[-1])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


@pytest.mark.parametrize("file", ["results/a b;c/x.parquet", f"results/{'long/' * 80}x.parquet"])
def test_reads_a_record(tmp_path: Path, file: str) -> None:
    record = {
        "input": ["a", "b"],
        "shellcmd": "python x.py",
        "conda_env": base64.b64encode(b"- numpy =1\n").decode(),
        "input_checksums": {"a": "sha256:0"},
    }
    keep(tmp_path, file, json.dumps(record))
    assert read_made(tmp_path, file) == Made(("a", "b"), "python x.py", "- numpy =1\n", {"a": "sha256:0"})


@pytest.mark.parametrize("content", [None, "", "[]", '{"input": nul'])
def test_no_record(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        keep(tmp_path, "x", content)
    assert read_made(tmp_path, "x") is None


def test_a_record_without_environment_or_checksums(tmp_path: Path) -> None:
    keep(tmp_path, "x", json.dumps({"input": None, "shellcmd": None, "conda_env": None, "input_checksums": None}))
    assert read_made(tmp_path, "x") == Made((), "", "", {})


VALUES = st.one_of(st.text(), st.just(" now: "), st.just("a, b' now: 'c"), st.integers(), st.none(), st.booleans())


@given(st.lists(VALUES, max_size=3), st.lists(VALUES, max_size=3), st.booleans())
def test_finds_every_value_of_the_sentence(before: list[object], now: list[object], more: bool) -> None:
    def told(values: list[object]) -> str:
        return ",".join(map(repr, values)) if values else "<nothing exclusive>"

    reason = f"Code has changed since last execution; {UNION}before: {told(before)} now: {told(now)} "
    reason += "; Software environment definition has changed since last execution" if more else ""
    assert parameter_changes(reason) == ([str(v) for v in before], [str(v) for v in now])


@pytest.mark.parametrize("reason", ["", "Missing output files: a", f"{UNION}before: 'half now: 'x' "])
def test_other_sentences_name_no_values(reason: str) -> None:
    assert parameter_changes(reason) == ([], [])
