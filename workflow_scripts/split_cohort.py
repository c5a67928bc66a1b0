"""Assign the patients of a cohort to train, valid and test parts."""

from __future__ import annotations

import argparse

from pathomix.cohort.splits import split_cohort
from pathomix.core import script


def main(options: argparse.Namespace) -> None:
    """Split one cohort and write the audit."""
    split_cohort(options.name, options.patients, options.given, options.parameters, options.output, options.expression)


if __name__ == "__main__":
    arguments = script.parser(__doc__ or "")
    arguments.add_argument("--name", required=True, help="cohort name, for messages")
    arguments.add_argument("--patients", required=True, help="patients.parquet")
    arguments.add_argument("--given", help="given_splits.parquet, for the scheme `given`")
    arguments.add_argument("--expression", help="expression.h5ad, for `holdout` where it requires expression")
    arguments.add_argument("--parameters", required=True, type=script.json_object, help="scheme and its parameters")
    arguments.add_argument("--output", required=True, help="splits/<cohort>/<scheme>.parquet; the audit goes beside it")
    script.run(main, arguments)
