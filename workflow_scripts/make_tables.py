"""Lay the scores of one study out as CSV, Markdown, LaTeX and HTML tables."""

from __future__ import annotations

import argparse
from pathlib import Path

from pathomix.core import script


def main(options: argparse.Namespace) -> None:
    """Write survival.{csv,md,tex,html} and subtype.{csv,md,tex,html}."""
    from pathomix.report.tables import make_tables

    labels, tuning = options.method_labels, options.tuning
    make_tables(options.scores, options.cohort_order, labels, options.output_dir, options.published, tuning)


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
    arguments.add_argument("--tuning", default="", help="how the rows were tuned, for the captions")
    arguments.add_argument("--output-dir", type=Path, required=True, help="folder of the eight tables")
    script.run(main, arguments)
