"""Lock the diagnostic slides of some GDC projects: ids, checksums and sizes, frozen at a date."""

from __future__ import annotations

import argparse
from pathlib import Path

from pathomix.acquire.options import add_arguments, add_gdc_arguments
from pathomix.core import script


def main(options: argparse.Namespace) -> None:
    """Write the lock, and say what it changes where there was one."""
    from pathomix.acquire.gdc import Gdc
    from pathomix.acquire.lock import report_changes, write_lock
    from pathomix.acquire.options import gdc_client_of
    from pathomix.core.files import write_text
    from pathomix.simulate.archive.stand_in import served

    with (
        served(options.archive, options.archive_faults, options.gdc) as url,
        gdc_client_of(options, url) as client,
    ):
        gdc = Gdc(client, url, name="local archive" if options.archive else None)
        lock = gdc.lock(options.projects, options.note, options.data_format, options.exclude)
        for path, table in ((options.clinical, gdc.clinical), (options.biospecimen, gdc.biospecimen)):
            if path is not None:
                write_text(path, table(options.projects).to_csv(sep="\t", index=False, lineterminator="\n"))
    report_changes(options.output, lock)
    write_lock(lock, options.output)


if __name__ == "__main__":
    arguments = script.parser(__doc__ or "")
    arguments.add_argument("--projects", nargs="+", required=True, help="project ids, e.g. TCGA-LUAD TCGA-LUSC")
    arguments.add_argument("--output", type=Path, required=True, help="<cohort>.slides.tsv; a .yaml is put beside it")
    arguments.add_argument("--clinical", type=Path, help="table of the cases to write, too")
    arguments.add_argument("--biospecimen", type=Path, help="table of the samples to write, too")
    arguments.add_argument("--data-format", default="SVS", help="of the slide files")
    arguments.add_argument("--exclude", nargs="*", default=[], help="file ids to leave out")
    arguments.add_argument("--note", default="", help="kept in the header")
    add_arguments(arguments)
    add_gdc_arguments(arguments)
    script.run(main, arguments)
