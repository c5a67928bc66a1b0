"""Turn a cohort's tables into its artefacts, as a description says."""

from __future__ import annotations

import argparse

from pathomix.cohort.importer import build_cohort
from pathomix.core import script
from pathomix.genomics.gene_sets import read_measured


def main(options: argparse.Namespace) -> None:
    """Import one cohort."""
    build_cohort(
        options.name,
        options.description,
        options.root,
        options.output_dir,
        read_gene_sets=read_measured,
        endpoint=options.endpoint,
    )


if __name__ == "__main__":
    arguments = script.parser(__doc__ or "")
    arguments.add_argument("--name", required=True, help="cohort name; fills {name} in the description's paths")
    arguments.add_argument("--description", required=True, help="YAML, see config/cohorts/")
    arguments.add_argument("--root", required=True, help="folder the description's paths are relative to")
    arguments.add_argument("--endpoint", help="survival endpoint; default: the description's")
    arguments.add_argument("--output-dir", required=True)
    script.run(main, arguments)
