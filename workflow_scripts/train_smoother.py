"""Train the perceptron that smooths expression embeddings and examine it on held-out donors."""

from __future__ import annotations

import argparse
from pathlib import Path

from pathomix.core import script


def main(options: argparse.Namespace) -> None:
    """Run."""
    import torch

    from pathomix.smoothing.stages import online_mixer, train_smoother

    torch.set_num_threads(options.threads)
    # Read in the online mode alone.
    online = online_mixer(options.atlas, options.encoder, options.encoder_parameters, options.mixing)
    outputs = {name: getattr(options, name) for name in ("model", "history", "validation", "predictions")}
    train_smoother(options.pool, options.training, online, outputs)


if __name__ == "__main__":
    arguments = script.parser(__doc__ or "")
    arguments.add_argument("--pool", type=Path, required=True, help="POOL table of mix_atlas")
    arguments.add_argument("--atlas", type=Path, required=True, help="AnnData of the atlas")
    arguments.add_argument("--encoder", type=Path, required=True, help="fitted encoder")
    arguments.add_argument("--encoder-parameters", required=True, type=script.json_object, help="JSON object")
    arguments.add_argument("--mixing", required=True, type=script.json_object, help="JSON object: how to mix")
    arguments.add_argument("--training", required=True, type=script.json_object, help="JSON object: how to train")
    arguments.add_argument("--model", type=Path, required=True, help="output: smoother (safetensors)")
    arguments.add_argument("--history", type=Path, required=True, help="output: SMOOTHER_HISTORY table")
    arguments.add_argument("--validation", type=Path, required=True, help="output: report (JSON)")
    arguments.add_argument("--predictions", type=Path, required=True, help="output: VALIDATION table")
    script.run(main, arguments)
