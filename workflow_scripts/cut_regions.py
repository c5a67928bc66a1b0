"""Cut the regions of interest of a cohort's slides."""

from argparse import Namespace
from pathlib import Path

from pathomix.core import script
from pathomix.slides.regions import cut_regions


def main(options: Namespace) -> None:
    """Run."""
    cut_regions(
        options.tissue,
        options.slides,
        options.root,
        options.name,
        options.parameters,
        options.max_lost_share,
        options.results,
        options.output,
        options.quarantine,
    )


if __name__ == "__main__":
    arguments = script.parser(__doc__ or "")
    arguments.add_argument("--tissue", type=Path, nargs="+", required=True, help="indices of the tissue stage")
    arguments.add_argument("--slides", type=Path, required=True, help="slides.parquet of the cohort")
    arguments.add_argument("--root", type=Path, required=True, help="folder that relative slide paths start from")
    arguments.add_argument("--name", required=True, help="name of the regions")
    arguments.add_argument("--parameters", type=script.json_object, required=True, help="the regions as JSON")
    arguments.add_argument("--max-lost-share", type=float, required=True, help="share of patients that may be lost")
    arguments.add_argument("--results", type=Path, required=True, help="results folder")
    arguments.add_argument("--output", type=Path, required=True, help="region file to write")
    arguments.add_argument("--quarantine", type=Path, required=True, help="list of quarantined slides to write")
    script.run(main, arguments)
