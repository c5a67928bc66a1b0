"""Number of jobs per rule, as Snakemake counts them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

_LONGEST_S = 600
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


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
    command = snakemake_command(root)
    if command is None:
        return {}, "there is no snakemake here"
    options = ["-n", "--nolock", "--quiet", "rules", "reason", "host", "--configfile", *map(str, files)]
    options += ["--config", *changes] if changes else []
    try:
        done = subprocess.run(
            [*command, *options], cwd=root, capture_output=True, text=True, timeout=_LONGEST_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return {}, f"snakemake -n: {error}"
    text = done.stdout + done.stderr
    jobs = parse_jobs(text)
    if done.returncode:
        return {}, f"snakemake -n: {_cause(text)}"
    return jobs, ""


def _cause(text: str) -> str:
    """The sentence that matters in Snakemake's report of an error."""
    lines = [line.strip() for line in _COLOUR.sub("", text).splitlines() if line.strip()]
    own = [line for line in lines if line.startswith("PathomixError:")]
    named = [line for line in lines if re.search(r"(Exception|Error)\b", line)]
    return (own or named or lines or ["it failed"])[0].removeprefix("PathomixError: ")
