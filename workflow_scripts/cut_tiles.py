"""Cut the tissue of one shard's slides into tiles of one tiling."""

from argparse import Namespace
from pathlib import Path

from pathomix.core import script
from pathomix.slides.cut import cut_shard
from pathomix.workflow.digest import script_digest


def main(options: Namespace) -> None:
    """Run."""
    cut_shard(
        options.tissue,
        options.slides,
        options.root,
        (options.size, options.mpp),
        options.parameters,
        options.results,
        options.index,
        script_digest(Path(__file__).parents[1], "cut_tiles"),
        options.imported,
    )


if __name__ == "__main__":
    arguments = script.parser(__doc__ or "")
    arguments.add_argument("--tissue", type=Path, required=True, help="index of the tissue stage")
    arguments.add_argument("--slides", type=Path, required=True, help="slides.parquet of the cohort")
    arguments.add_argument("--root", type=Path, required=True, help="folder that relative slide paths start from")
    arguments.add_argument("--size", type=int, required=True, help="tile edge in pixels, the encoder's")
    arguments.add_argument("--mpp", type=float, required=True, help="µm per pixel, the encoder's")
    arguments.add_argument("--parameters", type=script.json_object, default={}, help="slides.tiles as JSON")
    arguments.add_argument("--imported", help="coordinate files to take instead of cutting; {slide_id} in the path")
    arguments.add_argument("--results", type=Path, required=True, help="results folder")
    arguments.add_argument("--index", type=Path, required=True, help="index table to write")
    script.run(main, arguments)
