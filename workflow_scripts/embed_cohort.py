"""Embed the patients of a cohort, every fold of its scheme, with the trained models of one source and seed."""

from __future__ import annotations

import argparse
from pathlib import Path

from pathomix.core import script


def main(options: argparse.Namespace) -> None:
    """Run the cell."""
    import torch

    from pathomix.cohort.loader import load_cases
    from pathomix.core.files import file_digest
    from pathomix.core.schemas import MODEL_INDEX, SPLITS
    from pathomix.core.tables import read_table
    from pathomix.evaluate.leakage import guard
    from pathomix.representations.files import input_digests
    from pathomix.representations.run import EmbeddingCell, embed_cell
    from pathomix.slides.feature_store import FeatureStore

    torch.set_num_threads(options.threads)
    inputs = input_digests(options.cohort_dir, options.features, (), options.slide_encoder)
    cell = EmbeddingCell(
        configuration=options.parameters,
        slide_encoder=options.slide_encoder,
        cohort=options.cohort,
        foreign=options.foreign,
        inputs={**inputs, "models": file_digest(options.models), "splits": file_digest(options.splits)},
    )
    tiles = FeatureStore(options.features, options.results) if options.features else None
    cases, splits = load_cases(options.cohort_dir, tiles=tiles), read_table(options.splits, SPLITS)
    slides = options.cohort_dir / "slides.parquet"
    check = guard(cases, splits, where=options.cohort, slides=slides, features=options.features)
    embed_cell(cell, cases, splits, read_table(options.models, MODEL_INDEX), options.results, options.output, check)


if __name__ == "__main__":
    arguments = script.parser(__doc__ or "")
    arguments.add_argument("--representation", required=True, help="the row's name, for messages")
    arguments.add_argument(
        "--parameters", required=True, type=script.json_object, help="JSON object: representation and its parameters"
    )
    arguments.add_argument("--slide-encoder", required=True, type=script.json_object, help="JSON object")
    arguments.add_argument("--models", required=True, type=Path, help="MODEL_INDEX table of train_representation")
    arguments.add_argument("--cohort", required=True)
    arguments.add_argument("--cohort-dir", required=True, type=Path)
    arguments.add_argument(
        "--features", nargs="*", default=[], type=Path, help="merged feature indices, one per cohort"
    )
    arguments.add_argument("--splits", required=True, type=Path, help="of the cohort")
    arguments.add_argument("--foreign", action="store_true", help="the models were not trained on this cohort")
    arguments.add_argument("--results", required=True, type=Path)
    arguments.add_argument("--output", required=True, type=Path, help="AnnData")
    script.run(main, arguments)
