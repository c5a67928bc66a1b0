"""Fit an expression encoder on the training donors of an atlas, on the genes that the bulk tables share with it."""

from __future__ import annotations

import argparse
from pathlib import Path

from pathomix.core import script


def main(options: argparse.Namespace) -> None:
    """Run."""
    import torch

    from pathomix.cohort.matrices import read_expression
    from pathomix.core.files import file_digest
    from pathomix.smoothing.embed import measured_genes
    from pathomix.smoothing.stages import fit_encoder

    torch.set_num_threads(options.threads)
    tables = {path.parent.name: read_expression(path) for path in options.expression}
    genes = {cohort: measured_genes(table) for cohort, table in tables.items() if table is not None}
    digests = {f"expression/{path.parent.name}": file_digest(path) for path in options.expression}
    fit_encoder(options.atlas, genes, options.parameters, digests, options.output)


if __name__ == "__main__":
    arguments = script.parser(__doc__ or "")
    arguments.add_argument("--atlas", type=Path, required=True, help="AnnData of the atlas")
    arguments.add_argument(
        "--expression", nargs="*", default=[], type=Path, help="expression.h5ad of the cohorts that are to be embedded"
    )
    arguments.add_argument(
        "--parameters", required=True, type=script.json_object, help="JSON object: encoder and its parameters"
    )
    arguments.add_argument("--output", type=Path, required=True, help="fitted encoder (safetensors)")
    script.run(main, arguments)
