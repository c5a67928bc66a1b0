"""Embed the tiles of one shard's slides with the encoders of a pass."""

from argparse import Namespace
from pathlib import Path

from pathomix.core import script


def main(options: Namespace) -> None:
    """Run."""
    # decode processes import this file too: they need no network
    from pathomix.slides.embed import embed_shard

    embed_shard(
        options.tiles,
        options.slides,
        options.root,
        getattr(options, "pass"),
        options.encoders,
        options.engine,
        options.results,
        options.index,
        options.threads,
    )


if __name__ == "__main__":
    arguments = script.parser(__doc__ or "")
    arguments.add_argument("--tiles", type=Path, action="append", required=True, help="tile index; once per tiling")
    arguments.add_argument("--slides", type=Path, required=True, help="slides.parquet of the cohort")
    arguments.add_argument("--root", type=Path, required=True, help="folder that relative slide paths start from")
    arguments.add_argument("--pass", required=True, help="name of the pass")
    arguments.add_argument("--encoders", type=script.json_object, required=True, help="entries by name, as JSON")
    arguments.add_argument("--engine", type=script.json_object, default={}, help="section embedding as JSON")
    arguments.add_argument("--results", type=Path, required=True, help="results folder")
    arguments.add_argument("--index", type=Path, required=True, help="index table to write")
    script.run(main, arguments)
