"""Draw how the rows of a study learnt: loss and scores by epoch, and the epochs that were kept."""

from __future__ import annotations

import argparse
from pathlib import Path

from pathomix.core import script


def main(options: argparse.Namespace) -> None:
    """Write training_<cohort>.{pdf,png}."""
    from pathomix.report.training_curves import plot_training

    plot_training(
        options.indices,
        options.results,
        options.cohort,
        options.method_labels,
        options.representations,
        options.output_dir,
        options.method_order,
    )


if __name__ == "__main__":
    arguments = script.parser(__doc__)
    arguments.add_argument("--indices", nargs="+", type=Path, required=True, help="run indices of the cohort")
    arguments.add_argument("--results", type=Path, required=True, help="folder the paths in the indices start from")
    arguments.add_argument("--cohort", required=True, help="the cohort")
    arguments.add_argument(
        "--method-labels", type=script.json_object, default={}, help="JSON {method: label}, in the order of the rows"
    )
    arguments.add_argument(
        "--representations", type=script.json_object, default={}, help="JSON {method: [indices of its representation]}"
    )
    arguments.add_argument("--method-order", nargs="*", default=[], help="all methods of the project: fixes colours")
    arguments.add_argument("--output-dir", type=Path, required=True, help="folder of the figure")
    script.run(main, arguments)
