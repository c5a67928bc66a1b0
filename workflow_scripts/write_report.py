"""Write the report: one HTML file with the certificate, all tables and figures, lineage, configuration and versions."""

from __future__ import annotations

import argparse
from pathlib import Path

from pathomix.core import script


def main(options: argparse.Namespace) -> None:
    """Write the page and its machine-readable twin."""
    from pathomix.report.page import Reproduction, StudyFiles, versions, write_report

    write_report(
        [StudyFiles(name, *map(Path, places)) for name, *places in options.study],
        options.config,
        options.quarantine,
        options.oracle,
        versions(options.locks),
        options.output,
        left_out=options.left_out,
        profiles=options.profiles,
        probes=options.site_probe,
        leaks=options.leaks,
        galleries={kind: [Path(path) for path in paths] for kind, *paths in options.gallery},
        # A raw table that was fetched, used and cleared away since is known by its digest all the same.
        reproduction=Reproduction(
            options.published, [path for path in options.sources if path.exists()], options.command, options.crate
        ),
    )


if __name__ == "__main__":
    arguments = script.parser(__doc__)
    arguments.add_argument(
        "--study",
        nargs=4,
        action="append",
        required=True,
        metavar=("NAME", "TABLES", "FIGURES", "SCORES"),
        help="a study: its name, folder of tables, folder of figures, score table (repeatable)",
    )
    arguments.add_argument("--config", type=script.json_object, required=True, help="configuration of the run, JSON")
    arguments.add_argument("--quarantine", nargs="*", type=Path, default=[], help="quarantine lists, tab-separated")
    arguments.add_argument("--oracle", nargs="*", type=Path, default=[], help="oracle.json of simulated cohorts")
    arguments.add_argument("--left-out", type=script.json_object, default={}, help="JSON {row: why it was not run}")
    arguments.add_argument("--site-probe", nargs="*", type=Path, default=[], help="tables of site probes")
    arguments.add_argument("--leaks", nargs="*", type=Path, default=[], help="declared leaks of the studies")
    arguments.add_argument("--profiles", type=Path, help="table of the fidelity profiles")
    arguments.add_argument(
        "--gallery",
        nargs="+",
        action="append",
        default=[],
        metavar="KIND FIGURE",
        help="figures (PNG) of one kind: splits, slides, smoothing (repeatable)",
    )
    arguments.add_argument("--locks", nargs="+", type=Path, required=True, help="locks every environment is made from")
    arguments.add_argument("--published", nargs="*", type=Path, default=[], help="files of published values")
    arguments.add_argument(
        "--sources",
        nargs="*",
        type=Path,
        default=[],
        help="files and folders outside the results that artefacts read: descriptions, locks and pins, own tables",
    )
    arguments.add_argument(
        "--command", default="snakemake --cores all", help="start of a command line that runs this configuration"
    )
    arguments.add_argument("--crate", type=Path, help="ro-crate-metadata.json to write into the results folder")
    arguments.add_argument("--output", type=Path, required=True, help="report/index.html below the results folder")
    script.run(main, arguments)
