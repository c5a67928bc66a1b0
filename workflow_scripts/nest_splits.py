"""Split the training patients of every fold again, for choosing settings inside a fold."""

from __future__ import annotations

import argparse

from pathomix.cohort.nested_splits import nest_cohort
from pathomix.core import script


def main(options: argparse.Namespace) -> None:
    """Write the inner splits of one cohort and scheme, and their audits."""
    nest_cohort(options.name, options.patients, options.splits, options.parameters, options.output)


if __name__ == "__main__":
    arguments = script.parser(__doc__ or "")
    arguments.add_argument("--name", required=True, help="cohort name, for messages")
    arguments.add_argument("--patients", required=True, help="patients.parquet")
    arguments.add_argument("--splits", required=True, help="splits/<cohort>/<scheme>.parquet")
    arguments.add_argument("--parameters", required=True, type=script.json_object, help="inner scheme, its parameters")
    arguments.add_argument("--output", required=True, help="splits/<cohort>/<scheme>.inner.parquet")
    script.run(main, arguments)
