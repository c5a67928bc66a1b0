"""Smooth the expression vectors of a cohort's patients."""

from __future__ import annotations

import argparse
from pathlib import Path

from pathomix.core import script


def main(options: argparse.Namespace) -> None:
    """Run."""
    import torch

    from pathomix.core.provenance import Provenance
    from pathomix.smoothing.embed import smooth_patients
    from pathomix.smoothing.files import read_smoother, read_vectors, write_vectors

    torch.set_num_threads(options.threads)
    vectors = smooth_patients(read_vectors(options.vectors), read_smoother(options.model))
    inputs = {"vectors": options.vectors, "smoother": options.model}
    write_vectors(options.output, vectors, Provenance.of("expression_vectors", inputs))


if __name__ == "__main__":
    arguments = script.parser(__doc__ or "")
    arguments.add_argument("--vectors", type=Path, required=True, help="AnnData of embed_expression")
    arguments.add_argument("--model", type=Path, required=True, help="trained smoother")
    arguments.add_argument("--output", type=Path, required=True, help="AnnData")
    script.run(main, arguments)
