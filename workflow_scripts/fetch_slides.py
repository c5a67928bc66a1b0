"""Fetch and verify the slides of one shard of a lock, and write their index."""

from __future__ import annotations

import argparse
from pathlib import Path

from pathomix.acquire.options import add_arguments, add_gdc_arguments
from pathomix.core import script


def main(options: argparse.Namespace) -> None:
    """Fetch what is not there yet."""
    from pathomix.acquire.gdc import Gdc
    from pathomix.acquire.lock import read_lock
    from pathomix.acquire.options import gdc_client_of
    from pathomix.acquire.slides import fetch_slides
    from pathomix.simulate.archive.stand_in import served

    lock = read_lock(options.lock)
    with (
        served(options.archive, options.archive_faults, options.gdc) as url,
        gdc_client_of(options, url) as client,
    ):
        fetch_slides(
            lock, Gdc(client, url), options.output_dir, options.index, options.shard, options.shards, options.parallel
        )


if __name__ == "__main__":
    arguments = script.parser(__doc__ or "")
    arguments.add_argument("--lock", type=Path, required=True, help="table written by lock_slides.py")
    arguments.add_argument("--shard", type=int, default=0, help="shard to fetch, from 0")
    arguments.add_argument("--shards", type=int, default=1, help="number of shards")
    arguments.add_argument("--output-dir", type=Path, required=True, help="folder of <project>/<file name>")
    arguments.add_argument("--index", type=Path, required=True, help="table to write: slide_id, path, md5, size")
    add_arguments(arguments)
    add_gdc_arguments(arguments)
    script.run(main, arguments)
