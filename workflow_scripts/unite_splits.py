"""Splits of a union of cohorts, from the splits of its members."""

from __future__ import annotations

import argparse

from pathomix.cohort.union import unite_splits
from pathomix.core import script


def main(options: argparse.Namespace) -> None:
    """Write the union's splits and their audit."""
    unite_splits(options.name, dict(options.member), options.patients, options.output)


if __name__ == "__main__":
    arguments = script.parser(__doc__ or "")
    arguments.add_argument("--name", required=True, help="name of the union")
    arguments.add_argument("--patients", required=True, help="patients.parquet of the union")
    arguments.add_argument(
        "--member", required=True, nargs=2, action="append", metavar=("NAME", "SPLITS"), help="a member's splits"
    )
    arguments.add_argument("--output", required=True, help="splits/<union>/<scheme>.parquet; the audit goes beside it")
    script.run(main, arguments)
