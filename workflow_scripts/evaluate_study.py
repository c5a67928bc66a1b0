"""Score all runs of one study: every fold, and every table cell with its intervals."""

from __future__ import annotations

import argparse
from pathlib import Path

from pathomix.core import script


def main(options: argparse.Namespace) -> None:
    """Read the predictions the indices list, write both score tables and what the runs say they leak."""
    from pathomix.core.files import write_text
    from pathomix.evaluate.leakage import declared_leaks
    from pathomix.evaluate.study import evaluate_study

    evaluate_study(options.indices, options.results, options.parameters, options.output_dir, options.threads)
    leaks = declared_leaks(options.indices, options.results)
    write_text(options.leaks, leaks.to_csv(sep="\t", index=False, lineterminator="\n"))


if __name__ == "__main__":
    arguments = script.parser(__doc__)
    arguments.add_argument("--indices", nargs="+", type=Path, required=True, help="run indices of the study")
    arguments.add_argument("--results", type=Path, required=True, help="folder the paths in the indices start from")
    arguments.add_argument(
        "--parameters", type=script.json_object, default={}, help="JSON: bootstrap, seed, unit, reference"
    )
    arguments.add_argument("--output-dir", type=Path, required=True, help="folder of the four tables")
    arguments.add_argument("--leaks", type=Path, required=True, help="output: fits on more patients than they should")
    script.run(main, arguments)
