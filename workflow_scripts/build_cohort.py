"""Turn a cohort's tables into its artefacts, as a description says."""

from __future__ import annotations

import argparse

from pathomix.cohort.description import LOCKS
from pathomix.cohort.importer import GeneTools, build_cohort
from pathomix.core import script
from pathomix.genomics.gene_sets import read_measured
from pathomix.genomics.pathway_sets import select_sets
from pathomix.genomics.symbols import AliasTable


def main(options: argparse.Namespace) -> None:
    """Import one cohort."""
    build_cohort(
        options.name,
        options.description,
        options.root,
        options.output_dir,
        genes=GeneTools(read_measured, AliasTable.read, select_sets),
        endpoint=options.endpoint,
        repository=options.repository,
        locks=options.locks,
    )


if __name__ == "__main__":
    arguments = script.parser(__doc__ or "")
    arguments.add_argument("--name", required=True, help="cohort name; fills {name} in the description's paths")
    arguments.add_argument("--description", required=True, help="YAML, see config/cohorts/")
    arguments.add_argument("--root", required=True, help="folder the description's paths are relative to")
    arguments.add_argument("--endpoint", help="survival endpoint; default: the description's")
    arguments.add_argument("--repository", default=".", help="folder that resources/ of the description is in")
    arguments.add_argument("--locks", default=LOCKS, help="folder of the slide locks")
    arguments.add_argument("--output-dir", required=True)
    script.run(main, arguments)
