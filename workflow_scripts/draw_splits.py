"""Draw the audits of splits: events, classes and sites of every test part."""

from __future__ import annotations

import argparse
from pathlib import Path

from pathomix.core import script


def main(options: argparse.Namespace) -> None:
    """Write splits_<cohort>_<scheme>.{pdf,png} of every audit."""
    from pathomix.report.split_figure import plot_splits

    for audit in options.audits:
        plot_splits(audit, audit.name.removesuffix(".audit.json"), options.output_dir)


if __name__ == "__main__":
    arguments = script.parser(__doc__ or "")
    arguments.add_argument("--audits", type=Path, nargs="+", required=True, help="splits/<cohort>/<scheme>.audit.json")
    arguments.add_argument("--output-dir", type=Path, required=True, help="folder of the figures")
    script.run(main, arguments)
