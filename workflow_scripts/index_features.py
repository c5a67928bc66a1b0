"""Merge one encoder's rows of the pass indices of a cohort's shards, and list the quarantined slides."""

from argparse import Namespace
from pathlib import Path

from pathomix.core import script
from pathomix.slides.feature_store import index_features


def main(options: Namespace) -> None:
    """Run."""
    index_features(
        options.indices, options.slides, options.encoder, options.max_lost_share, options.output, options.quarantine
    )


if __name__ == "__main__":
    arguments = script.parser(__doc__ or "")
    arguments.add_argument("--indices", type=Path, nargs="+", required=True, help="pass index of each shard")
    arguments.add_argument("--slides", type=Path, required=True, help="slides.parquet of the cohort")
    arguments.add_argument("--encoder", required=True, help="name of the encoder")
    arguments.add_argument(
        "--max-lost-share", type=float, default=0.1, help="largest share of patients that may lose all their slides"
    )
    arguments.add_argument("--output", type=Path, required=True, help="merged index to write")
    arguments.add_argument("--quarantine", type=Path, required=True, help="table of quarantined slides to write")
    script.run(main, arguments)
