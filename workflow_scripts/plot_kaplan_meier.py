"""Draw the Kaplan-Meier curves of one cohort, split by the predicted risk."""

import argparse
from pathlib import Path

from pathomix.core import script


def main(options: argparse.Namespace) -> None:
    """Write kaplan_meier_<cohort>.{pdf,png}."""
    from pathomix.report.figures import plot_kaplan_meier

    plot_kaplan_meier(
        options.indices,
        options.scores,
        options.results,
        options.cohort,
        options.method,
        options.method_labels,
        options.output_dir,
        options.threads,
    )


if __name__ == "__main__":
    arguments = script.parser(__doc__)
    arguments.add_argument("--indices", nargs="+", type=Path, required=True, help="run indices of the cohort")
    arguments.add_argument("--scores", type=Path, required=True, help="score table of the study")
    arguments.add_argument("--results", type=Path, required=True, help="folder the paths in the indices start from")
    arguments.add_argument("--cohort", required=True, help="the cohort")
    arguments.add_argument("--method", help="method of the risk groups; without it the best row of the cohort")
    arguments.add_argument(
        "--method-labels", type=script.json_object, default={}, help="JSON {method: label}, in the order of the rows"
    )
    arguments.add_argument("--output-dir", type=Path, required=True, help="folder of the figure")
    script.run(main, arguments)
