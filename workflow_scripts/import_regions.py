"""Import a folder of PNG regions of interest for a cohort."""

from argparse import Namespace
from pathlib import Path

from pathomix.core import script
from pathomix.slides.region_folder import import_regions


def main(options: Namespace) -> None:
    """Run."""
    import_regions(
        options.folder,
        options.patients,
        options.name,
        options.parameters,
        options.max_lost_share,
        options.output,
        options.quarantine,
    )


if __name__ == "__main__":
    arguments = script.parser(__doc__ or "")
    arguments.add_argument("--folder", type=Path, required=True, help="folder of the PNG files")
    arguments.add_argument("--patients", type=Path, required=True, help="patients.parquet of the cohort")
    arguments.add_argument("--name", required=True, help="name of the regions")
    arguments.add_argument("--parameters", type=script.json_object, default={}, help="the regions as JSON")
    arguments.add_argument("--max-lost-share", type=float, required=True, help="share of patients that may be lost")
    arguments.add_argument("--output", type=Path, required=True, help="region file to write")
    arguments.add_argument("--quarantine", type=Path, required=True, help="list of quarantined files to write")
    script.run(main, arguments)
