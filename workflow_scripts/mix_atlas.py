"""Mix cells of an atlas and embed the mixtures; blocks of an interrupted run are kept."""

from __future__ import annotations

import argparse
from pathlib import Path

from pathomix.core import script


def main(options: argparse.Namespace) -> None:
    """Run."""
    import torch

    from pathomix.smoothing.stages import mix_atlas

    torch.set_num_threads(options.threads)
    mix_atlas(options.atlas, options.encoder, options.encoder_parameters, options.mixing, options.folder, options.index)


if __name__ == "__main__":
    arguments = script.parser(__doc__ or "")
    arguments.add_argument("--atlas", type=Path, required=True, help="AnnData of the atlas")
    arguments.add_argument("--encoder", type=Path, required=True, help="fitted encoder")
    arguments.add_argument("--encoder-parameters", required=True, type=script.json_object, help="JSON object")
    arguments.add_argument("--mixing", required=True, type=script.json_object, help="JSON object: how to mix")
    arguments.add_argument("--folder", type=Path, required=True, help="folder of the blocks")
    arguments.add_argument("--index", type=Path, required=True, help="output: POOL table")
    script.run(main, arguments)
