"""A stand-in for conda that builds isolated environments without network.

It answers exactly the calls that ``snakemake --sdm conda`` makes (specification of the workflow, section 3). An
environment is a virtual environment that holds the packages of its YAML file, what their wheels say they require, and
nothing else: every file is a hard link to the installed one of the environment this runs in (``.venv/rules``, which
holds the whole lock). So what is built differs from a real one in where packages come from, never in which may be
imported.

Not covered: the real solve against conda-forge, and libraries that conda-forge packages share but wheels carry inside
(OpenSlide, OpenCV's and PyTorch's own libraries).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import venv
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

VERSION = "24.7.1"
CHANNELS = ["conda-forge", "nodefaults"]
# conda-forge package to its wheels where the names differ; the first carries the version.
WHEELS = {
    "opencv": ("opencv-python",),
    "openslide-python": ("openslide-python", "openslide-bin"),
    "ortools-python": ("ortools",),
    "pytorch": ("torch",),
}


class CondaError(Exception):
    """What conda would end with."""


def normal(name: str) -> str:
    """A distribution's name in its one spelling."""
    return re.sub(r"[-_.]+", "-", name).lower()


def installed() -> dict[str, metadata.Distribution]:
    """Distributions of the environment this runs in, the project itself left out: rules find it on PYTHONPATH."""
    site = Path(sys.prefix, "lib", f"python{sys.version_info[0]}.{sys.version_info[1]}", "site-packages")
    found = {normal(each.metadata["Name"]): each for each in metadata.distributions(path=[str(site)])}
    found.pop("pathomix", None)
    return found


def requested(content: str) -> dict[str, str]:
    """conda-forge package to its pin, from the text of an environment file.

    Raises:
        CondaError: Other channels, other keys, or a dependency that is not ``name =version``.
    """
    described = yaml.safe_load(content)
    if set(described) != {"channels", "dependencies"} or described["channels"] != CHANNELS:
        raise CondaError(f"an environment has the channels {CHANNELS} and dependencies, and nothing else")
    pins: dict[str, str] = {}
    for line in described["dependencies"]:
        match = re.fullmatch(r"([a-z0-9_.-]+) =([0-9][0-9a-z.]*)", str(line))
        if not match:
            raise CondaError(f"not an exact pin (name =version): {line}")
        pins[match.group(1)] = match.group(2)
    return pins


def direct(pins: dict[str, str], available: dict[str, metadata.Distribution]) -> list[str]:
    """The wheels of the pinned packages.

    Raises:
        CondaError: Python is not pinned to this one, or a package is not installed here in the pinned version.
    """
    python = pins.get("python", "none")
    here = ".".join(map(str, sys.version_info[:3]))
    if not f"{here}.".startswith(f"{python}."):
        raise CondaError(f"python ={python} is pinned, {here} is what stands in for it")
    wheels: list[str] = []
    for name, version in pins.items():
        if name == "python":
            continue
        of = WHEELS.get(name, (name,))
        for wheel in of:
            if normal(wheel) not in available:
                raise CondaError(f"PackagesNotFoundError: {name} (wheel {wheel})")
        found = available[normal(of[0])].version
        # conda reads `=1.2` as `1.2.*`.
        if not SpecifierSet(f"=={version}.*").contains(found, prereleases=True):
            raise CondaError(f"PackagesNotFoundError: {name} ={version}; the lock has {found}")
        wheels += [normal(wheel) for wheel in of]
    return wheels


def closure(names: Iterable[str], available: dict[str, metadata.Distribution]) -> set[str]:
    """The distributions and all that they require, by the markers and extras of their metadata.

    Raises:
        CondaError: Something required is not installed here.
    """
    done: set[tuple[str, str]] = set()
    waiting = [(normal(name), "") for name in names]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in done:
            continue
        done.add((name, extra))
        if name not in available:
            raise CondaError(f"PackagesNotFoundError: {name}, which another package requires")
        for line in available[name].requires or []:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                waiting += [(normal(requirement.name), each) for each in ("", *requirement.extras)]
    return {name for name, _ in done}


def create(file: Path, prefix: Path) -> set[str]:
    """Build the environment of a YAML file.

    Returns:
        The distributions it holds.

    Raises:
        CondaError: The prefix exists, or the file asks for what is not here.
    """
    if prefix.exists():
        raise CondaError(f"prefix already exists: {prefix}")
    available = installed()
    names = closure(direct(requested(file.read_text()), available), available)
    venv.EnvBuilder(symlinks=True, with_pip=False).create(prefix)
    for name in sorted(names):
        _link(available[name], prefix)
    return names


def _link(distribution: metadata.Distribution, prefix: Path) -> None:
    source = Path(sys.prefix)
    for file in distribution.files or ():
        # Not resolved: only the `..` of scripts and data outside site-packages go.
        path = Path(os.path.normpath(str(distribution.locate_file(file))))
        target = prefix / path.relative_to(source)
        if target.exists() or (path.suffix == ".pyc" and not path.exists()):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        content = path.read_bytes() if path.parent == source / "bin" else b""
        first, _, rest = content.partition(b"\n")
        if first.startswith(b"#!") and b"python" in first:
            target.write_bytes(f"#!{prefix}/bin/python\n".encode() + rest)
            shutil.copymode(path, target)
            continue
        try:
            target.hardlink_to(path)
        except OSError:
            target.symlink_to(path)  # Another file system.


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="conda", description=__doc__)
    parser.add_argument("--version", action="version", version=f"conda {VERSION}")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("info").add_argument("--json", action="store_true", required=True)
    config = commands.add_parser("config")
    config.add_argument("--get", choices=["channel_priority"], required=True)
    config.add_argument("--json", action="store_true", required=True)
    clean = commands.add_parser("clean")
    for flag in ("-y", "--tarballs", "--packages"):
        clean.add_argument(flag, action="store_true")
    environment = commands.add_parser("env").add_subparsers(dest="subcommand", required=True).add_parser("create")
    environment.add_argument("--quiet", action="store_true")
    environment.add_argument("--no-default-packages", action="store_true")
    environment.add_argument("--file", type=Path, required=True)
    environment.add_argument("--prefix", type=Path, required=True)
    return parser


def main(arguments: list[str]) -> int:
    """One call of ``conda``; any that Snakemake does not make is refused."""
    given = _parser().parse_args(arguments)
    if given.command == "info":
        # Snakemake sources `<conda_prefix>/bin/activate`.
        print(json.dumps({"conda_prefix": str(Path(__file__).resolve().parent), "platform": "linux-64"}))
    elif given.command == "config":
        print(json.dumps({"get": {"channel_priority": "strict"}}))
    elif given.command == "env":
        try:
            create(given.file, given.prefix.absolute())
        except CondaError as error:
            print(f"CondaError: {given.file.name}: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
