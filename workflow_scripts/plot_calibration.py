"""Draw how well predicted survival probabilities agree with observed survival, one panel per cohort."""

from __future__ import annotations

import argparse
from pathlib import Path

from pathomix.core import script


def main(options: argparse.Namespace) -> None:
    """Write calibration.{pdf,png}."""
    from pathomix.report.calibration import plot_calibration

    plot_calibration(
        options.calibration,
        options.d_calibration,
        options.cohort_order,
        options.method_labels,
        options.output_dir,
        options.method_order,
    )


if __name__ == "__main__":
    arguments = script.parser(__doc__)
    arguments.add_argument("--calibration", type=Path, required=True, help="CALIBRATION table of the study")
    arguments.add_argument("--d-calibration", type=Path, required=True, help="D_CALIBRATION table of the study")
    arguments.add_argument("--cohort-order", nargs="+", required=True, help="cohorts in the order of the panels")
    arguments.add_argument(
        "--method-labels", type=script.json_object, default={}, help="JSON {method: label}, in the order of the rows"
    )
    arguments.add_argument("--method-order", nargs="*", default=[], help="all methods of the project: fixes colours")
    arguments.add_argument("--output-dir", type=Path, required=True, help="folder of the figure")
    script.run(main, arguments)
