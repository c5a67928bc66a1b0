"""A copy of the repository with a finished small run of the whole workflow."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Snakemake = Callable[..., subprocess.CompletedProcess[str]]


def copy_repository(root: Path, target: Path) -> Path:
    """Tracked and new files of the working tree, without what git ignores."""
    names = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in names.stdout.splitlines():
        source = root / name
        if source.is_symlink() or source.is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name, follow_symlinks=False)
    return target


def runner(root: Path, folder: Path) -> Snakemake:
    """Snakemake of the runner's environment, with the rules' python first on PATH, run in `folder`."""
    program = root / ".venv" / "runner" / "bin" / "snakemake"
    if not program.is_file():
        pytest.skip("no runner environment; `make test` installs it")
    rules = root / ".venv" / "rules" / "bin"
    environment = {**os.environ, "PATH": f"{rules}{os.pathsep}{os.environ['PATH']}"}

    def run(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(program), *arguments], cwd=folder, capture_output=True, text=True, env=environment, check=False
        )
        if check and done.returncode:
            raise AssertionError(f"snakemake {' '.join(arguments)} ended with {done.returncode}\n{done.stderr[-6000:]}")
        return done

    return run


def planned(dry_run: subprocess.CompletedProcess[str]) -> dict[str, int]:
    """Rule name to number of jobs, from the output of a dry-run."""
    text = dry_run.stdout + dry_run.stderr
    if "Nothing to be done" in text:
        return {}
    table = text[text.index("Job stats:") :].splitlines()[3:]
    counts: dict[str, int] = {}
    for line in table:
        match = re.fullmatch(r"(\w+)\s+(\d+)", line.strip())
        if not match or match.group(1) == "total":
            break
        counts[match.group(1)] = int(match.group(2))
    assert counts, text
    return counts


@pytest.fixture(scope="session")
def finished(root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Snakemake]:
    """Folder and Snakemake of a finished run of `tests/workflow/config.yaml`."""
    folder = copy_repository(root, tmp_path_factory.mktemp("workflow"))
    snakemake = runner(root, folder)
    snakemake("--cores", "2", "--configfile", "tests/workflow/config.yaml")
    return folder, snakemake
