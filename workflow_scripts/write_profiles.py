"""Write the table of fidelity profiles, and what they are worth in the studies."""

from __future__ import annotations

import argparse
from pathlib import Path

from pathomix.core import script


def main(options: argparse.Namespace) -> None:
    """Write profiles.{csv,md} and profile_worth.{csv,md}."""
    import pandas as pd

    from pathomix.core.schemas import TASKS
    from pathomix.report.fidelity import profile_worth, write_profiles, write_worth
    from pathomix.report.tables import read_csv

    write_profiles(options.output_dir)
    tables = {study: [read_csv(folder / f"{task}.csv") for task in TASKS] for study, folder in options.study}
    rows = {study: pd.concat(filled) for study, both in tables.items() if (filled := [t for t in both if len(t)])}
    write_worth(profile_worth(options.config, rows), options.output_dir)


def _study(text: str) -> tuple[str, Path]:
    name, _, folder = text.partition("=")
    return name, Path(folder)


if __name__ == "__main__":
    arguments = script.parser(__doc__)
    arguments.add_argument("--config", type=script.json_object, default={}, help="configuration of the run, JSON")
    arguments.add_argument(
        "--study",
        nargs="*",
        type=_study,
        default=[],
        metavar="NAME=FOLDER",
        help="studies and the folders of their tables",
    )
    arguments.add_argument("--output-dir", required=True, help="folder of the four files")
    script.run(main, arguments)
