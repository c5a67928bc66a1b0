"""Draw what smoothing does: its validation on held-out donors, and the patients before and after it."""

from __future__ import annotations

import argparse
from pathlib import Path

from pathomix.core import script


def main(options: argparse.Namespace) -> None:
    """Write validation.{pdf,png} and patients.{pdf,png}."""
    from pathomix.report.embedded_patients import plot_vectors
    from pathomix.report.smoothing import plot_validation

    plot_validation(options.name, options.validation, options.predictions, options.output_dir / "validation")
    plot_vectors(
        options.name, options.cohorts, options.before, options.after, options.patients, options.output_dir / "patients"
    )


if __name__ == "__main__":
    arguments = script.parser(__doc__)
    arguments.add_argument("--name", required=True, help="the smoothing")
    arguments.add_argument("--validation", type=Path, required=True, help="report of train_smoother (JSON)")
    arguments.add_argument("--predictions", type=Path, required=True, help="VALIDATION table of train_smoother")
    arguments.add_argument("--cohorts", nargs="+", required=True, help="cohorts whose patients are drawn")
    arguments.add_argument("--before", nargs="+", type=Path, required=True, help="vectors before, one file per cohort")
    arguments.add_argument("--after", nargs="+", type=Path, required=True, help="vectors after, one file per cohort")
    arguments.add_argument("--patients", nargs="+", type=Path, required=True, help="PATIENTS table of each cohort")
    arguments.add_argument("--output-dir", type=Path, required=True, help="folder of the figures")
    script.run(main, arguments)
