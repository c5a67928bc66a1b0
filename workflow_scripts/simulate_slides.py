"""Simulated slides of one shard of a cohort, and their index."""

from __future__ import annotations

import argparse
from pathlib import Path

from pathomix.core import script


def main(options: argparse.Namespace) -> None:
    """Write the slides of one shard."""
    from pathomix.simulate.parameters import Parameters
    from pathomix.simulate.slides import write_slides

    parameters = Parameters.from_dict(options.parameters)
    write_slides(parameters, options.cohort, options.shard, options.shards, options.tables, options.index)


if __name__ == "__main__":
    arguments = script.parser(__doc__ or "")
    arguments.add_argument("--parameters", type=script.json_object, required=True, help="JSON object, {} = defaults")
    arguments.add_argument("--cohort", required=True, help="name of the simulated cohort")
    arguments.add_argument("--shard", type=int, required=True, help="shard to write, from 0")
    arguments.add_argument("--shards", type=int, required=True, help="number of shards")
    arguments.add_argument("--tables", type=Path, required=True, help="folder written by simulate_tables.py")
    arguments.add_argument("--index", type=Path, required=True, help="table to write: slide_id, md5, size")
    script.run(main, arguments)
