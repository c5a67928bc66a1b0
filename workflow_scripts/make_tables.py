"""Lay the scores of one study out as CSV, Markdown and LaTeX tables."""

from __future__ import annotations

import argparse
from pathlib import Path

from pathomix.core import script


def main(options: argparse.Namespace) -> None:
    """Write survival.{csv,md,tex} and subtype.{csv,md,tex}."""
    from pathomix.report.tables import make_tables

    make_tables(options.scores, options.cohort_order, options.method_labels, options.output_dir, options.published)


if __name__ == "__main__":
    arguments = script.parser(__doc__)
    arguments.add_argument("--scores", type=Path, required=True, help="score table of the study")
    arguments.add_argument("--cohort-order", nargs="*", default=[], help="cohorts in the order of the columns")
    arguments.add_argument(
        "--method-labels",
        type=script.json_object,
        default={},
        help='JSON {method: label} or {method: {"label", "group"}}, in the order of the rows',
    )
    arguments.add_argument(
        "--published", type=script.json_object, default={}, help="JSON of the study's `published` section"
    )
    arguments.add_argument("--output-dir", type=Path, required=True, help="folder of the six tables")
    script.run(main, arguments)
