"""The jobs that are still to be done, as Snakemake's dry-run tells them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from pathomix.core.errors import PathomixError

_LONGEST_S = 600
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_HEAD = re.compile(r"(?:local)?(?:rule|checkpoint) (\w+):")
_FIELD = re.compile(r"    (input|output|log|jobid|benchmark|reason|wildcards|resources): (.*)")
_GPUS = re.compile(r"\bgpu=(\d+)")
_COMMAND = "Shell command: "


@dataclass(frozen=True)
class Job:
    """A job that is to be done.

    Attributes:
        rule: Name of its rule.
        inputs: Files it reads.
        outputs: Files it writes.
        benchmark: File its time is written to, empty where there is none.
        reason: Why Snakemake runs it, in Snakemake's words.
        wildcards: Values of the rule's wildcards, as ``name=value, name=value``.
        command: The shell command.
        gpus: GPUs it asks for.
    """

    rule: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    benchmark: str = ""
    reason: str = ""
    wildcards: str = ""
    command: str = ""
    gpus: int = 0


def parse_jobs(text: str) -> dict[str, int]:
    """Jobs by rule of the first table ``Job stats:`` in Snakemake's output; empty where there is none."""
    lines = iter(_COLOUR.sub("", text).splitlines())
    found: dict[str, int] = {}
    for line in lines:
        if line.startswith("Job stats:"):
            break
    for line in lines:
        match = re.fullmatch(r"(\w+)\s+(\d+)", line.strip())
        if match:
            found[match[1]] = int(match[2])
        elif found:
            break
    return {rule: count for rule, count in found.items() if rule not in ("total", "all")}


def parse_plan(text: str) -> list[Job]:
    """Every job in the output of ``snakemake -n -p`` but the target rule's, in its order."""
    jobs: list[Job] = []
    rule, fields = "", dict[str, str]()
    for line in (*_COLOUR.sub("", text).splitlines(), "rule all:"):
        head, item = _HEAD.fullmatch(line), _FIELD.fullmatch(line)
        if head:
            if rule and rule != "all":
                jobs.append(_job(rule, fields))
            rule, fields = head[1], {}
        elif item:
            fields.setdefault(item[1], item[2])
        elif line.startswith(_COMMAND):
            fields["command"] = line.removeprefix(_COMMAND)
    return jobs


def _job(rule: str, fields: dict[str, str]) -> Job:
    inputs, outputs = (tuple(fields[name].split(", ")) if name in fields else () for name in ("input", "output"))
    given = {name: fields.get(name, "") for name in ("benchmark", "reason", "wildcards", "command")}
    gpus = _GPUS.search(fields.get("resources", ""))
    return Job(rule, inputs, outputs, **given, gpus=int(gpus[1]) if gpus else 0)


def snakemake_command(root: Path) -> list[str] | None:
    """How Snakemake is called here, None where it is not."""
    found = shutil.which("snakemake")
    own = root / ".venv" / "runner" / "bin" / "snakemake"
    if found:
        return [found]
    if own.is_file():
        return [str(own)]
    return [sys.executable, "-m", "snakemake"] if find_spec("snakemake") else None


def remaining_jobs(root: Path, files: Sequence[Path], changes: Sequence[str] = ()) -> tuple[dict[str, int], str]:
    """Jobs by rule that are still to be done.

    Args:
        root: The repository.
        files: Configuration files.
        changes: Values of ``--config``.

    Returns:
        The jobs, and why they are not known (empty where they are).
    """
    try:
        return parse_jobs(_dry_run(root, ["--quiet", "rules", "reason", "host", *_given(files, changes)])), ""
    except PathomixError as error:
        return {}, error.fact


def planned_jobs(
    root: Path, files: Sequence[Path], changes: Sequence[str] = (), *, profile: str = "", targets: Sequence[str] = ()
) -> list[Job]:
    """The jobs that are still to be done, with why.

    Args:
        root: The repository.
        files: Configuration files.
        changes: Values of ``--config``.
        profile: Snakemake's profile, empty for none; how software is deployed is part of what makes a job run again.
        targets: Files that are wanted; everything where none is named.

    Raises:
        PathomixError: Snakemake is not here, or could not plan.
    """
    options = ["-p", "--quiet", "host", *_given(files, changes), *(["--profile", profile] if profile else [])]
    return parse_plan(_dry_run(root, [*options, *(["--", *targets] if targets else [])]))


def _given(files: Sequence[Path], changes: Sequence[str]) -> list[str]:
    return ["--configfile", *map(str, files), *(["--config", *changes] if changes else [])]


def _dry_run(root: Path, options: Sequence[str]) -> str:
    """What Snakemake prints."""
    command = snakemake_command(root)
    if command is None:
        raise PathomixError("there is no snakemake here", remedy="run `make demo` once, or activate its environment")
    try:
        done = subprocess.run(
            [*command, "-n", "--nolock", *options],
            cwd=root, capture_output=True, text=True, timeout=_LONGEST_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PathomixError(f"snakemake -n: {error}", remedy="run `snakemake -n` by hand to see why") from error
    text = done.stdout + done.stderr
    if done.returncode:
        raise PathomixError(f"snakemake -n: {_cause(text)}", remedy="mend that, then ask again")
    return text


def _cause(text: str) -> str:
    """The sentence that matters in Snakemake's report of an error."""
    lines = [line.strip() for line in _COLOUR.sub("", text).splitlines() if line.strip()]
    own = [line for line in lines if line.startswith("PathomixError:")]
    named = [line for line in lines if re.search(r"(Exception|Error)\b", line)]
    return (own or named or lines or ["it failed"])[0].removeprefix("PathomixError: ")
