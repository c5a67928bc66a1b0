"""Find the tissue on the slides of one shard."""

from argparse import Namespace
from pathlib import Path

from pathomix.core import script
from pathomix.slides.segment import segment_shard
from pathomix.workflow.digest import script_digest


def main(options: Namespace) -> None:
    """Run."""
    code = script_digest(Path(__file__).parents[1], "segment_tissue")
    segment_shard(
        options.slides,
        options.root,
        options.shard,
        options.shards,
        options.parameters,
        options.results,
        options.index,
        code,
        options.overrides,
        options.known_slides,
    )


if __name__ == "__main__":
    arguments = script.parser(__doc__ or "")
    arguments.add_argument("--slides", type=Path, required=True, help="slides.parquet of the cohort")
    arguments.add_argument("--root", type=Path, required=True, help="folder that relative slide paths start from")
    arguments.add_argument("--shard", type=int, default=0, help="number of this shard, from 0")
    arguments.add_argument("--shards", type=int, default=1, help="number of shards")
    arguments.add_argument("--parameters", type=script.json_object, default={}, help="slides.tissue as JSON")
    arguments.add_argument("--overrides", type=Path, help="table of corrections for single slides")
    arguments.add_argument(
        "--known-slides", type=Path, nargs="+", default=[], help="slides.parquet of further cohorts it may name"
    )
    arguments.add_argument("--results", type=Path, required=True, help="results folder")
    arguments.add_argument("--index", type=Path, required=True, help="index table to write")
    script.run(main, arguments)
