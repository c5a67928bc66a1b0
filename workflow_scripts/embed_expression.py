"""Embed the bulk expression of a cohort's patients with a fitted expression encoder."""

from __future__ import annotations

import argparse
from pathlib import Path

from pathomix.core import script


def main(options: argparse.Namespace) -> None:
    """Run."""
    import torch

    from pathomix.cohort.matrices import expression_scale, read_expression
    from pathomix.core.provenance import Provenance
    from pathomix.core.schemas import PATIENTS
    from pathomix.core.tables import read_table
    from pathomix.smoothing.embed import embed_patients
    from pathomix.smoothing.encoders import read_encoder
    from pathomix.smoothing.files import write_vectors

    torch.set_num_threads(options.threads)
    expression, patients = (options.cohort_dir / name for name in ("expression.h5ad", "patients.parquet"))
    scale = expression_scale(expression)
    vectors = embed_patients(
        read_expression(expression),
        scale,
        list(read_table(patients, PATIENTS)["patient_id"]),
        read_encoder(options.encoder, options.parameters),
    )
    inputs = {"expression": expression, "patients": patients, "encoder": options.encoder}
    write_vectors(options.output, vectors, Provenance.of("expression_vectors", inputs, {"scale": scale}))


if __name__ == "__main__":
    arguments = script.parser(__doc__ or "")
    arguments.add_argument("--cohort-dir", type=Path, required=True, help="artefacts of the cohort")
    arguments.add_argument("--encoder", type=Path, required=True, help="fitted encoder")
    arguments.add_argument(
        "--parameters", required=True, type=script.json_object, help="JSON object: encoder and its parameters"
    )
    arguments.add_argument("--output", type=Path, required=True, help="AnnData")
    script.run(main, arguments)
