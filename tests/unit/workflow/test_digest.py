"""The code digest follows meaning, not text or time; a record tells what stood behind it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pathomix.workflow.digest import (
    RECORDS,
    Entries,
    Records,
    code_digest,
    parts_of,
    reachable,
    read_record,
    script_digest,
)

MODULES = {
    "pathomix/__init__.py": '"""Package."""\n__version__ = "1"\n',
    "pathomix/a/__init__.py": '"""A."""\n',
    "pathomix/a/one.py": (
        '"""One."""\nfrom typing import TYPE_CHECKING\n\nfrom pathomix.a import two\nfrom .three import THREE\n\n'
        "if TYPE_CHECKING:\n    from pathomix.a.hint import Hint\n\n\n"
        'def f(x):\n    """F."""\n    total = x + 1\n    return total\n'
    ),
    "pathomix/a/two.py": "VALUE = 2\n",
    "pathomix/a/three.py": "THREE = 3\n\n\ndef load():\n    import pathomix.a.late\n",
    "pathomix/a/late.py": "LATE = 1\n",
    "pathomix/a/hint.py": "HINT = 1\n",
    "pathomix/a/unrelated.py": "X = 1\n",
    "pathomix/a/plugin.py": "PLUGIN = 1\n",
}
ENTRIES = Entries("workflow_scripts/script.py", ("pathomix.a.plugin",), ("template.html",))


@pytest.fixture()
def project(tmp_path: Path) -> Path:
    for name, text in MODULES.items():
        path = tmp_path / "src" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    script = tmp_path / ENTRIES.script
    script.parent.mkdir()
    script.write_text("import json\n\nfrom pathomix.a.one import f\n\nprint(f(json.loads('1')))\n")
    (tmp_path / "template.html").write_text("<p>")
    return tmp_path


def digest(project: Path) -> str:
    found = script_digest(project, "script", modules=["pathomix.a.plugin"], data=[project / "template.html"])
    assert found == code_digest(project, ENTRIES)
    return found


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_reaches_absolute_relative_late_and_package_imports(project: Path) -> None:
    names = {path.name for path in reachable([project / ENTRIES.script], project / "src")}
    assert names == {"script.py", "__init__.py", "one.py", "two.py", "three.py", "late.py"}


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        (ENTRIES.script, "import json", "# a comment\nimport json"),
        ("src/pathomix/a/one.py", '"""F."""', '"""Another docstring."""'),
        ("src/pathomix/a/one.py", "x + 1", "(x   +\n            1)"),
        ("src/pathomix/a/one.py", "total", "sum_of_both"),
        ("src/pathomix/a/one.py", "f(x)", "f(x: int) -> int"),
        ("src/pathomix/a/one.py", '"""One."""', ""),
        ("src/pathomix/__init__.py", '"1"', '"2"'),
        ("src/pathomix/a/unrelated.py", "1", "2"),
        ("src/pathomix/a/hint.py", "1", "2"),
    ],
)
def test_ignores_what_changes_no_meaning(project: Path, file: str, old: str, new: str) -> None:
    before = digest(project)
    edit(project / file, old, new)
    assert digest(project) == before


@pytest.mark.parametrize(
    ("file", "old", "new", "part"),
    [
        (ENTRIES.script, "'1'", "'2'", "statements"),
        ("src/pathomix/a/one.py", "+ 1", "+ 2", "function f"),
        ("src/pathomix/a/one.py", "f(x)", "f(y)", "function f"),
        ("src/pathomix/a/two.py", "2", "3", "value VALUE"),
        ("src/pathomix/a/three.py", "THREE = 3", "THREE = 4", "value THREE"),
        ("src/pathomix/a/late.py", "1", "2", "value LATE"),
        ("src/pathomix/a/plugin.py", "1", "2", "value PLUGIN"),
        ("template.html", "<p>", "<b>", "content"),
    ],
)
def test_sees_every_change_of_meaning(project: Path, file: str, old: str, new: str, part: str) -> None:
    before, parts = digest(project), parts_of(project, ENTRIES)
    edit(project / file, old, new)
    now = parts_of(project, ENTRIES)
    assert digest(project) != before
    changed = {(f, p) for f in now for p in now[f].keys() | parts[f].keys() if now[f].get(p) != parts[f].get(p)}
    assert changed == {(file, part)}


def test_does_not_depend_on_times_or_place(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    before = digest(project)
    os.utime(project / "src/pathomix/a/one.py", (1, 1))
    assert digest(project) == before
    moved = tmp_path_factory.mktemp("elsewhere") / "copy"
    project.rename(moved)
    assert digest(moved) == before


def test_names_an_unknown_module(project: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"pathomix\.a\.absent"):
        code_digest(project, Entries(ENTRIES.script, ("pathomix.a.absent",)))


def test_records_are_written_once_asked_for_and_tell_what_was(project: Path) -> None:
    results, records = project / "results", Records()
    first = code_digest(project, ENTRIES)
    records.note(first, project, ENTRIES)
    assert not results.exists(), "a dry-run leaves no trace"
    records.keep(results)
    before = parts_of(project, ENTRIES)
    content = {path.name: path.read_bytes() for path in (results / RECORDS).iterdir()}
    assert set(content) == {f"{first}.json"}
    edit(project / "src/pathomix/a/two.py", "2", "3")
    second = code_digest(project, ENTRIES)
    records.note(second, project, ENTRIES)
    records.note(first, project, ENTRIES)
    assert {path.stem for path in (results / RECORDS).iterdir()} == {first, second}
    assert (results / RECORDS / f"{first}.json").read_bytes() == content[f"{first}.json"]
    assert read_record(results, first) == (ENTRIES, before)
    assert read_record(results, second) == (ENTRIES, parts_of(project, ENTRIES))
    assert digest(project) == second, "a record is no part of the code"


@pytest.mark.parametrize("text", [None, "", "[]", "{}", '{"script": 1, "modules": 2, "data": [], "files": {}}'])
def test_a_record_that_is_no_record(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / RECORDS).mkdir()
        (tmp_path / RECORDS / "0123456789abcdef.json").write_text(text)
    assert read_record(tmp_path, "0123456789abcdef") is None
