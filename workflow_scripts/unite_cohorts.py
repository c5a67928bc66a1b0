"""Put cohorts together as one (pan-cancer)."""

from __future__ import annotations

import argparse

from pathomix.cohort.union import unite_cohorts
from pathomix.core import script


def main(options: argparse.Namespace) -> None:
    """Write the union's artefacts."""
    unite_cohorts(options.name, dict(options.member), options.output_dir)


if __name__ == "__main__":
    arguments = script.parser(__doc__ or "")
    arguments.add_argument("--name", required=True, help="name of the union")
    arguments.add_argument(
        "--member", required=True, nargs=2, action="append", metavar=("NAME", "FOLDER"), help="a member's artefacts"
    )
    arguments.add_argument("--output-dir", required=True)
    script.run(main, arguments)
