"""A finished run that nobody disturbed, copies of it, and a log of the hashes at the end of the test run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.machinery import Site, artefacts, differences, orphans
from tests.workflow.conftest import copy_repository

CONFIG = "tests/chaos/config.yaml"
RESULTS = "results/chaos"
QUICK = f"{RESULTS}/tables/quick/survival.csv"
# Of these the hashes are printed one by one; of all other files their number and one hash over all.
_PRINTED = ("tables/", "runs/", "evaluation/", "report/")

_LINES = pytest.StashKey[list[str]]()
Log = Callable[[str, list[str], dict[str, str], dict[str, str]], None]


def checkout(root: Path, folder: Path, config: str, results: str, *targets: str) -> Site:
    """A copy of the repository in which Snakemake runs with the environment of the rules."""
    program = root / ".venv" / "runner" / "bin" / "snakemake"
    if not program.is_file():
        pytest.skip("no runner environment; `make test` installs it")
    copy_repository(root, folder)
    options = (*targets, "--configfile", config, "--rerun-incomplete", "--quiet", "host", "reason")
    return Site(folder, program, root / ".venv" / "rules" / "bin", options, folder / results)


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_LINES] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The log of the chaos, where continuous integration shows it whatever is captured."""
    if lines := config.stash[_LINES]:
        terminalreporter.section("chaos: sha256 before and after")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture
def compare(request: pytest.FixtureRequest) -> Log:
    """Log what happened and the hashes of both runs, then insist that they are equal and nothing is left over."""
    lines = request.config.stash[_LINES]

    def log(title: str, events: list[str], before: dict[str, str], after: dict[str, str]) -> None:
        lines.extend([f"{request.node.name}: {title}", *(f"  {event}" for event in events)])
        for name in sorted({*before, *after}):
            if name.startswith(_PRINTED) and name.endswith((".parquet", ".csv", ".html")):
                old, new = before.get(name, "absent"), after.get(name, "absent")
                lines.append(f"  {'=' if old == new else '!'} {old} {new} {name}")
        found = differences(before, after)
        lines.append(f"  {len(before)} files before, {len(after)} after, {len(found)} differ")
        assert before, "nothing was compared"
        assert not found, found

    return log


@pytest.fixture(scope="session")
def quick(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A finished run to one table: simulation, archive, download, cohort, splits, a method and its evaluation."""
    site = checkout(root, tmp_path_factory.mktemp("quick") / "undisturbed", CONFIG, RESULTS, QUICK)
    assert site.run() == 0, site.said()
    assert not orphans(site.results)
    return site


@pytest.fixture(scope="session")
def whole(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A finished run to the report, with slides, tiles, features and figures."""
    site = checkout(root, tmp_path_factory.mktemp("whole") / "undisturbed", CONFIG, RESULTS)
    assert site.run() == 0, site.said()
    assert not orphans(site.results)
    return site


@pytest.fixture(scope="session")
def quick_hashes(quick: Site) -> dict[str, str]:
    """Hashes of the finished quick run."""
    return artefacts(quick.results)
