"""Draw the contact sheet of a cohort's slides."""

from argparse import Namespace
from pathlib import Path

from pathomix.core import script
from pathomix.report.contact_sheet import write_contact_sheet


def main(options: Namespace) -> None:
    """Run."""
    write_contact_sheet(options.slides, options.indices, options.results, options.output)


if __name__ == "__main__":
    arguments = script.parser(__doc__ or "")
    arguments.add_argument("--slides", type=Path, required=True, help="slides.parquet of the cohort")
    arguments.add_argument("--indices", type=Path, nargs="+", required=True, help="index tables of all shards")
    arguments.add_argument("--results", type=Path, required=True, help="results folder")
    arguments.add_argument("--output", type=Path, required=True, help="folder of the pages")
    script.run(main, arguments)
