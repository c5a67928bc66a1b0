"""Prepare a labelled single-cell atlas: counts, classes, quality, whole donors held out."""

from __future__ import annotations

import argparse
from pathlib import Path

from pathomix.atlas.prepare import prepare_atlas
from pathomix.core import script


def main(options: argparse.Namespace) -> None:
    """Write the atlas and its report."""
    prepare_atlas(options.name, options.atlas, options.parameters, options.output, options.report)


if __name__ == "__main__":
    arguments = script.parser(__doc__ or "")
    arguments.add_argument("--name", required=True, help="name of the atlas in the configuration")
    arguments.add_argument("--atlas", type=Path, required=True, help="labelled AnnData file (.h5ad)")
    arguments.add_argument("--parameters", required=True, type=script.json_object, help="the atlas' entry as JSON")
    arguments.add_argument("--output", type=Path, required=True, help="atlas/<atlas>.h5ad")
    arguments.add_argument("--report", type=Path, required=True, help="atlas/<atlas>.json: what was dropped and why")
    script.run(main, arguments)
