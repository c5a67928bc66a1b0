"""The container recipes install the two locks and nothing else, and say the same; they are not built here."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
RECIPES = {name: (ROOT / "containers" / name).read_text() for name in ("Dockerfile", "apptainer.def")}
LOCKS = {"locks/rules.txt", "locks/runner.txt"}


def sources(name: str) -> set[str]:
    """Files of the repository that a recipe copies into the image."""
    text = RECIPES[name]
    if name == "Dockerfile":
        context = re.search(r"^# docker build .* --file containers/Dockerfile (\w+)$", text, flags=re.MULTILINE)
        assert context, "the command says which folder is sent to the builder"
        found = [shlex.split(line)[1:-1] for line in text.splitlines() if line.startswith("COPY ")]
        return {f"{context.group(1)}/{source}" for each in found for source in each}
    section = text.partition("%files\n")[2].partition("\n%")[0]
    return {shlex.split(line)[0] for line in section.splitlines() if line.strip()}


def shell_of(name: str) -> str:
    """The commands a recipe runs while it is built."""
    text = RECIPES[name]
    if name == "Dockerfile":
        return "\n".join(re.findall(r"^RUN ((?:.*\\\n)*.*)$", text, flags=re.MULTILINE))
    return text.partition("%post\n")[2].partition("\n%")[0]


def system_packages(name: str) -> list[str]:
    words = shell_of(name).replace("\\\n", " ").partition("--no-install-recommends")[2].split("\n")[0]
    return [word for word in words.partition("&&")[0].split() if word]


@pytest.mark.parametrize("name", RECIPES)
def test_copies_the_locks_that_exist(name: str) -> None:
    assert sources(name) == LOCKS
    assert all((ROOT / source).is_file() for source in sources(name))


@pytest.mark.parametrize("name", RECIPES)
def test_commands_are_valid_shell_and_install_each_lock_into_its_own_environment(name: str) -> None:
    commands = shell_of(name)
    subprocess.run(["sh", "-n"], input=commands, text=True, check=True)
    assert "for name in rules runner;" in commands
    assert '-m venv "/opt/pathomix/$name"' in commands
    assert '--no-deps -r "/opt/pathomix/locks/$name.txt"' in commands


@pytest.mark.parametrize("name", RECIPES)
def test_python_is_the_one_that_the_environments_pin(name: str) -> None:
    base = re.search(r"^(?:FROM|From:) python:([\d.]+)-slim-bookworm$", RECIPES[name], flags=re.MULTILINE)
    assert base
    for path in (ROOT / "envs").glob("*.yaml"):
        assert f"python ={base.group(1)}" in yaml.safe_load(path.read_text())["dependencies"]


def test_the_two_recipes_agree() -> None:
    paths = {re.search(r"PATH=(\S+:\$PATH)", text).group(1) for text in RECIPES.values()}  # type: ignore[union-attr]
    assert paths == {"/opt/pathomix/rules/bin:/opt/pathomix/runner/bin:$PATH"}
    assert system_packages("Dockerfile") == system_packages("apptainer.def")
    assert len(system_packages("Dockerfile")) == 7
