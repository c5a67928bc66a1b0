"""Embed the tiles of one shard's slides."""

from argparse import Namespace
from pathlib import Path

from pathomix.core import script
from pathomix.slides.embed import embed_shard


def main(options: Namespace) -> None:
    """Run."""
    embed_shard(
        options.tiles,
        options.slides,
        options.root,
        options.encoder,
        options.parameters,
        options.results,
        options.index,
        options.threads,
    )


if __name__ == "__main__":
    arguments = script.parser(__doc__ or "")
    arguments.add_argument("--tiles", type=Path, required=True, help="index of the tiling stage")
    arguments.add_argument("--slides", type=Path, required=True, help="slides.parquet of the cohort")
    arguments.add_argument("--root", type=Path, required=True, help="folder that relative slide paths start from")
    arguments.add_argument("--encoder", required=True, help="name of the encoder")
    arguments.add_argument("--parameters", type=script.json_object, required=True, help="the encoder as JSON")
    arguments.add_argument("--results", type=Path, required=True, help="results folder")
    arguments.add_argument("--index", type=Path, required=True, help="index table to write")
    script.run(main, arguments)
