"""Fetch Xena tables, atlases and other named files; pin them the first time, hold them to their pins after that."""

from __future__ import annotations

import argparse
from pathlib import Path

from pathomix.acquire.options import add_arguments
from pathomix.core import script


def main(options: argparse.Namespace) -> None:
    """Fetch what is not there yet."""
    from pathomix.acquire.options import client_of
    from pathomix.acquire.requests import fetch_requests
    from pathomix.simulate.archive.stand_in import served

    with (
        served(options.archive, options.archive_faults, "") as mirror,
        client_of(options) as client,
    ):
        fetch_requests(options.requests, options.output_dir, options.pins, client, options.parallel, mirror or None)


if __name__ == "__main__":
    arguments = script.parser(__doc__ or "")
    arguments.add_argument(
        "--requests",
        type=script.json_object,
        required=True,
        help="JSON object: path to make -> https address, Xena dataset, HUB:dataset or cellxgene:VERSION",
    )
    arguments.add_argument(
        "--pins", type=Path, help="YAML file of pins, new ones are added; without it nothing is pinned"
    )
    arguments.add_argument("--output-dir", type=Path, required=True, help="folder of the paths")
    add_arguments(arguments)
    script.run(main, arguments)
