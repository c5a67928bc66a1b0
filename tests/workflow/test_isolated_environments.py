"""Each environment file, built in isolation by a stand-in conda, holds all that the code of its rules imports."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

from pathomix.workflow.digest import reachable
from tests.stand_in.conda import closure, create, direct, installed, normal, requested
from tests.workflow import test_environments as scan
from tests.workflow.conftest import Snakemake, copy_repository

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src"
STAND_IN = ROOT / "tests" / "stand_in"
TEXTS = {path.stem: path.read_text() for path in scan.ENVIRONMENTS}
# Built and imported within seconds; the others belong to the slow suite.
SMALL = ("acquire", "cohort")
CONFIG = ("--configfile", "tests/workflow/config.yaml")
GRADED = [name if name in SMALL else pytest.param(name, marks=pytest.mark.slow) for name in TEXTS]
pytestmark = pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the environments pin Python 3.11")


def without(environment: str, package: str) -> str:
    changed = re.sub(rf"^  - {re.escape(package)} =.*\n", "", TEXTS[environment], flags=re.MULTILINE)
    assert changed != TEXTS[environment]
    return changed


def packages_of(content: str) -> set[str]:
    return set(requested(content)) - {"python"}


distributions = cache(installed)


@cache
def holdings(content: str) -> set[str]:
    """Distributions of the environment with this content."""
    return closure(direct(requested(content), distributions()), distributions())


def python_of(prefix: Path, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(prefix / "bin" / "python"), "-I", *arguments], input=given, capture_output=True, text=True, check=False
    )


@cache
def entries(environment: str) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """Scripts of the environment's rules, and the modules that these load by name from a registry."""
    scripts = scan.scripts_of(environment)
    loaded = {
        target.partition(":")[0]
        for script in scripts
        for registry in scan.LOADED.get(script, ())
        for target in registry.values()
    }
    return tuple(ROOT / "workflow_scripts" / f"{script}.py" for script in sorted(scripts)), tuple(sorted(loaded))


@cache
def third_party(environment: str) -> frozenset[tuple[str, str]]:
    """Every (module, attribute) outside the standard library that the reachable code imports, inside functions too."""
    scripts, modules = entries(environment)
    files = [SOURCE.joinpath(*module.split(".")).with_suffix(".py") for module in modules]
    found: set[tuple[str, str]] = set()
    for path in reachable([*scripts, *files], SOURCE):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {(alias.name, "") for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found |= {(node.module or "", alias.name) for alias in node.names}
    own = {*sys.stdlib_module_names, "pathomix"}
    return frozenset(each for each in found if package_of(each[0]) not in own)


def package_of(module: str) -> str:
    """The conda-forge package that a module comes with."""
    top = module.partition(".")[0]
    return scan.CONDA.get(top, top)


def failures(prefix: Path, scripts: Iterable[Path], names: Iterable[tuple[str, str]]) -> dict[str, str]:
    """What of these a built environment cannot import, and why."""
    request = {"source": str(SOURCE), "scripts": [str(path) for path in scripts], "names": sorted(names)}
    done = python_of(prefix, str(STAND_IN / "imports.py"), given=json.dumps(request))
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])["failed"]
    return found


@cache
def imported(environment: str) -> set[str]:
    return scan.imported(scan.scripts_of(environment)) | scan.RUNTIME.get(environment, set())


def disagreeing(texts: Mapping[str, str]) -> dict[str, set[str]]:
    """Environments whose file lists other packages than the code imports: the check by reading alone."""
    found = {name: packages_of(text) ^ imported(name) for name, text in texts.items()}
    return {name: packages for name, packages in found.items() if packages}


class Builder:
    """Environments built so far, by name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, environment: str) -> Path:
        prefix = self.folder / environment
        if not prefix.exists():
            create(ROOT / "envs" / f"{environment}.yaml", prefix)
        return prefix


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Builder]:
    folder = tmp_path_factory.mktemp("environments")
    yield Builder(folder)
    shutil.rmtree(folder)


@pytest.mark.parametrize("environment", GRADED)
def test_holds_its_packages_and_what_they_require_and_nothing_else(environment: str, built: Builder) -> None:
    program = "from importlib import metadata as m; print(*(d.metadata['Name'] for d in m.distributions()))"
    done = python_of(built(environment), "-c", program)
    assert {normal(name) for name in done.stdout.split()} == holdings(TEXTS[environment])


@pytest.mark.parametrize("environment", GRADED)
def test_can_import_all_that_its_rules_import(environment: str, built: Builder) -> None:
    scripts, modules = entries(environment)
    names = {*third_party(environment), *((module, "") for module in modules)}
    assert failures(built(environment), scripts, names) == {}


@pytest.mark.parametrize(("environment", "absent"), [("acquire", "pyarrow"), ("cohort", "httpx")])
def test_what_is_not_in_an_environment_cannot_be_imported(environment: str, absent: str, built: Builder) -> None:
    __import__(absent)
    failed = failures(built(environment), (), [(absent, "")])
    assert failed == {absent: f"ModuleNotFoundError: No module named '{absent}'"}


def test_the_project_itself_is_found_on_the_path_only(built: Builder) -> None:
    prefix = built("cohort")
    assert failures(prefix, (), [("pathomix.workflow.plan", "Plan")]) == {}
    assert "No module named 'pathomix'" in python_of(prefix, "-c", "import pathomix").stderr


def test_packages_come_from_the_prefix(built: Builder) -> None:
    prefix = built("cohort")
    program = "import sys, numpy, ortools; print(sys.prefix, numpy.__file__, ortools.__file__, *sys.path, sep='\\n')"
    lines = python_of(prefix, "-c", program).stdout.splitlines()
    assert all(line.startswith(str(prefix)) for line in lines[:3])
    assert not [line for line in lines if line.startswith(sys.prefix)]
    scripts = [path.read_bytes() for path in (prefix / "bin").iterdir() if path.is_file() and not path.is_symlink()]
    interpreters = {text.split(b"\n")[0] for text in scripts if text.startswith(b"#!") and b"python" in text}
    assert interpreters == {f"#!{prefix}/bin/python".encode()}


@pytest.mark.parametrize("environment", TEXTS)
def test_removing_any_package_is_seen_by_reading_in_exactly_that_environment(environment: str) -> None:
    assert disagreeing(TEXTS) == {}
    for package in packages_of(TEXTS[environment]):
        changed = {**TEXTS, environment: without(environment, package)}
        assert disagreeing(changed) == {environment: {package}}


def lacking(environment: str, built: Builder, package: str, folder: Path) -> None:
    """Build an environment without one package; its import, which the whole one can, must fail."""
    names = {each for each in third_party(environment) if package_of(each[0]) == package}
    assert failures(built(environment), (), names) == {}
    file = folder / f"{package}.yaml"
    file.write_text(without(environment, package))
    create(file, folder / package)
    failed = failures(folder / package, (), names)
    assert failed.keys() == {".".join(each).strip(".") for each in names} != set()
    assert all("No module named" in reason for reason in failed.values())


def test_removing_a_package_is_seen_by_importing(built: Builder, tmp_path: Path) -> None:
    lacking("acquire", built, "httpx", tmp_path)
    lacking("cohort", built, "ortools-python", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("environment", TEXTS)
def test_removing_any_package_that_nothing_else_requires_is_seen_by_importing(
    environment: str, built: Builder, tmp_path: Path
) -> None:
    candidates = packages_of(TEXTS[environment]) - scan.RUNTIME.get(environment, set())
    whole = holdings(TEXTS[environment])
    leaving = [package for package in sorted(candidates) if holdings(without(environment, package)) != whole]
    assert leaving
    for package in leaving:
        lacking(environment, built, package, tmp_path)
        shutil.rmtree(tmp_path / package)


def artefacts(folder: Path) -> dict[str, bytes]:
    """Final tables, scores and predictions of a finished run of the miniature."""
    results = folder / "results" / "miniature"
    kept = [*(results / "tables").rglob("*"), *(results / "evaluation").rglob("*")]
    kept += [path for path in (results / "runs").rglob("*") if "predictions" in path.name]
    return {str(path.relative_to(results)): path.read_bytes() for path in sorted(kept) if path.is_file()}


def with_conda(folder: Path, *arguments: str) -> str:
    """Output of a run in which nothing but the stand-in's environments supplies a package."""
    path = os.pathsep.join([str(STAND_IN / "bin"), "/usr/local/bin", "/usr/bin", "/bin"])
    done = subprocess.run(
        [str(ROOT / ".venv" / "runner" / "bin" / "snakemake"), *arguments, "--sdm", "conda"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": path, "STAND_IN_SOURCE": sys.prefix},
    )
    assert done.returncode == 0, done.stderr[-6000:]
    return done.stdout + done.stderr


@pytest.mark.slow
def test_workflow_with_each_rule_in_its_own_environment_makes_the_same_bytes(
    finished: tuple[Path, Snakemake], tmp_path: Path
) -> None:
    folder = copy_repository(ROOT, tmp_path / "checkout")
    output = with_conda(folder, "--cores", "2", *CONFIG)
    made = {path.read_text() for path in (folder / ".snakemake" / "conda").glob("*.yaml")}
    assert made <= set(TEXTS.values())
    rules = len(re.findall(r"^(?:local)?rule (?!all:)\w+:$", output, flags=re.MULTILINE))
    assert rules == len(re.findall(r"^Activating conda environment: ", output, flags=re.MULTILINE)) > 50
    assert "Nothing to be done" in with_conda(folder, "-n", *CONFIG)
    local, isolated = artefacts(finished[0]), artefacts(folder)
    assert local.keys() == isolated.keys()
    assert [name for name in local if local[name] != isolated[name]] == []
    shutil.rmtree(folder)
