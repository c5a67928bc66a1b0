"""Why a file would be made again, in one line: ``python -m pathomix.why results/demo/report/index.html``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from pathomix.core.errors import PathomixError
from pathomix.workflow.configuration import read_configuration
from pathomix.workflow.dry_run import planned_jobs
from pathomix.workflow.why import Cause, causes_of, sentence

ROOT = Path(__file__).resolve().parents[2]


def configuration_of(file: str, root: Path) -> Path:
    """The one configuration below ``config/`` whose folder of results holds a file.

    Raises:
        PathomixError: There is none, or more than one.
    """
    found = []
    for path in sorted((root / "config").glob("*.yaml")):
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        if isinstance(content, dict) and Path(file).is_relative_to(str(content.get("results", "/"))):
            found.append(path)
    if len(found) != 1:
        raise PathomixError(
            f"{file}: {len(found) or 'no'} configurations below config/ have results there",
            offending=[path.name for path in found],
            remedy="name the one to ask with --configfile",
        )
    return found[0]


def details(causes: Sequence[Cause]) -> str:
    """Every cause on its own lines."""
    lines = []
    for cause in causes:
        where = f" ({cause.job.wildcards})" if cause.job.wildcards else ""
        lines.append(f"  {' < '.join((*cause.via, cause.job.rule))}{where}")
        lines += [f"    {reason}" for reason in cause.reasons]
    return "\n".join(lines)


def main() -> int:
    """Print the answer."""
    parser = argparse.ArgumentParser(prog="python -m pathomix.why", description=__doc__, allow_abbrev=False)
    parser.add_argument("file", help="a file that a rule makes")
    parser.add_argument("--configfile", type=Path, nargs="+", help="configuration files, later over earlier")
    parser.add_argument("--config", nargs="+", default=[], metavar="KEY=VALUE", help="as Snakemake's option")
    parser.add_argument("--profile", default="", help="Snakemake's profile that the file was made with")
    parser.add_argument("--verbose", action="store_true", help="every cause, with the rules that pass it on")
    given = parser.parse_args()
    path = Path(given.file)
    file = (path.resolve().relative_to(ROOT) if path.resolve().is_relative_to(ROOT) else path).as_posix()
    try:
        files = given.configfile or [configuration_of(file, ROOT)]
        results = str(read_configuration(files, ROOT, given.config)["results"])
        jobs = planned_jobs(ROOT, files, given.config, profile=given.profile, targets=[file])
        causes = causes_of(file, jobs, ROOT, results)
    except PathomixError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(sentence(file, causes))
    if given.verbose and causes:
        print(details(causes))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
