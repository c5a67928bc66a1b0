"""Write the table of fidelity profiles."""

from __future__ import annotations

import argparse

from pathomix.core import script


def main(options: argparse.Namespace) -> None:
    """Write profiles.csv and profiles.md."""
    from pathomix.report.fidelity import write_profiles

    write_profiles(options.output_dir)


if __name__ == "__main__":
    arguments = script.parser(__doc__)
    arguments.add_argument("--output-dir", required=True, help="folder of the two files")
    script.run(main, arguments)
