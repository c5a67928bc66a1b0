"""The code digest follows meaning, not text or time."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pathomix.workflow.digest import code_digest, reachable

MODULES = {
    "pathomix/__init__.py": '"""Package."""\n__version__ = "1"\n',
    "pathomix/a/__init__.py": '"""A."""\n',
    "pathomix/a/one.py": (
        '"""One."""\nfrom pathomix.a import two\nfrom .three import THREE\n\n\n'
        'def f(x):\n    """F."""\n    return x + 1\n'
    ),
    "pathomix/a/two.py": "VALUE = 2\n",
    "pathomix/a/three.py": "THREE = 3\n",
    "pathomix/a/unrelated.py": "X = 1\n",
    "pathomix/a/plugin.py": "PLUGIN = 1\n",
}


@pytest.fixture()
def project(tmp_path: Path) -> Path:
    for name, text in MODULES.items():
        path = tmp_path / "src" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "script.py").write_text("import json\n\nfrom pathomix.a.one import f\n\nprint(f(json.loads('1')))\n")
    (tmp_path / "template.html").write_text("<p>")
    return tmp_path


def digest(project: Path) -> str:
    return code_digest(
        project / "script.py",
        project / "src",
        modules=["pathomix.a.plugin"],
        data=[project / "template.html"],
    )


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_reaches_absolute_relative_and_package_imports(project: Path) -> None:
    names = {path.name for path in reachable([project / "script.py"], project / "src")}
    assert names == {"script.py", "__init__.py", "one.py", "two.py", "three.py"}


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("script.py", "import json", "# a comment\nimport json"),
        ("src/pathomix/a/one.py", '"""F."""', '"""Another docstring."""'),
        ("src/pathomix/a/one.py", "x + 1", "(x   +\n            1)"),
        ("src/pathomix/a/one.py", '"""One."""', ""),
        ("src/pathomix/__init__.py", '"1"', '"2"'),
        ("src/pathomix/a/unrelated.py", "1", "2"),
    ],
)
def test_ignores_what_changes_no_meaning(project: Path, file: str, old: str, new: str) -> None:
    before = digest(project)
    edit(project / file, old, new)
    assert digest(project) == before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("script.py", "'1'", "'2'"),
        ("src/pathomix/a/one.py", "+ 1", "+ 2"),
        ("src/pathomix/a/two.py", "2", "3"),
        ("src/pathomix/a/three.py", "3", "4"),
        ("src/pathomix/a/plugin.py", "1", "2"),
        ("template.html", "<p>", "<b>"),
    ],
)
def test_sees_every_change_of_meaning(project: Path, file: str, old: str, new: str) -> None:
    before = digest(project)
    edit(project / file, old, new)
    assert digest(project) != before


def test_does_not_depend_on_times_or_place(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    before = digest(project)
    os.utime(project / "src/pathomix/a/one.py", (1, 1))
    assert digest(project) == before
    moved = tmp_path_factory.mktemp("elsewhere") / "copy"
    project.rename(moved)
    assert digest(moved) == before


def test_names_an_unknown_module(project: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"pathomix\.a\.absent"):
        code_digest(project / "script.py", project / "src", modules=["pathomix.a.absent"])
