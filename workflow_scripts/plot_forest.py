"""Draw the forest plots of a study: every row with its interval, one figure per task."""

import argparse
from pathlib import Path

from pathomix.core import script


def main(options: argparse.Namespace) -> None:
    """Write forest_<task>.{pdf,png}."""
    from pathomix.report.forest import plot_forests

    plot_forests(options.scores, options.cohort_order, options.method_labels, options.output_dir, options.method_order)


if __name__ == "__main__":
    arguments = script.parser(__doc__)
    arguments.add_argument("--scores", type=Path, required=True, help="score table of the study")
    arguments.add_argument("--cohort-order", nargs="+", required=True, help="cohorts in the order of the panels")
    arguments.add_argument(
        "--method-labels", type=script.json_object, default={}, help="JSON {method: label}, in the order of the rows"
    )
    arguments.add_argument("--method-order", nargs="*", default=[], help="all methods of the project: fixes colours")
    arguments.add_argument("--output-dir", type=Path, required=True, help="folder of the figures")
    script.run(main, arguments)
