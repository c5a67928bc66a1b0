"""Draw which modality the rows of a study lean on while they train, one cohort, and write it as a table."""

from __future__ import annotations

import argparse
from pathlib import Path

from pathomix.core import script


def main(options: argparse.Namespace) -> None:
    """Write balance_<cohort>.{pdf,png,csv}."""
    from pathomix.report.balance import plot_balance

    plot_balance(
        options.indices, options.results, options.cohort, options.method_labels, options.figure_dir, options.table_dir
    )


if __name__ == "__main__":
    arguments = script.parser(__doc__)
    arguments.add_argument("--indices", nargs="+", type=Path, required=True, help="run indices of the cohort")
    arguments.add_argument("--results", type=Path, required=True, help="folder the paths in the indices start from")
    arguments.add_argument("--cohort", required=True, help="the cohort")
    arguments.add_argument(
        "--method-labels", type=script.json_object, default={}, help="JSON {method: label}, in the order of the rows"
    )
    arguments.add_argument("--figure-dir", type=Path, required=True, help="folder of the figure")
    arguments.add_argument("--table-dir", type=Path, required=True, help="folder of the table")
    script.run(main, arguments)
