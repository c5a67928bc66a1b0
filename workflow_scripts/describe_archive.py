"""Describe the simulator's raw files as a local archive, from which the acquisition scripts fetch them over HTTP."""

from __future__ import annotations

import argparse
from pathlib import Path

from pathomix.core import script


def main(options: argparse.Namespace) -> None:
    """Write archive.json."""
    from pathomix.simulate.archive.describe import describe_simulation

    describe_simulation(options.raw, options.output_dir, options.cohorts)


if __name__ == "__main__":
    arguments = script.parser(__doc__ or "")
    arguments.add_argument("--raw", type=Path, required=True, help="folder of the raw simulated files, with slides")
    arguments.add_argument("--cohorts", nargs="*", help="cohorts to hold; default: all")
    arguments.add_argument("--output-dir", type=Path, required=True, help="folder of archive.json")
    script.run(main, arguments)
