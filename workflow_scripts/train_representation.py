"""Train one representation on one source (a cohort or a union) with one seed, every fold of its scheme."""

from __future__ import annotations

import argparse
from pathlib import Path

from pathomix.core import script


def main(options: argparse.Namespace) -> None:
    """Run the cell."""
    import torch

    from pathomix.cohort.loader import load_cases
    from pathomix.core.schemas import SPLITS
    from pathomix.core.tables import read_table
    from pathomix.evaluate.leakage import guard
    from pathomix.representations.files import input_digests
    from pathomix.representations.run import TrainingCell, train_cell
    from pathomix.slides.feature_store import FeatureStore
    from pathomix.text.store import StoredTexts

    torch.set_num_threads(options.threads)
    cell = TrainingCell(
        representation=options.representation,
        source=options.source,
        scheme=options.scheme,
        seed=options.seed,
        configuration=options.parameters,
        slide_encoder=options.slide_encoder,
        code_digest=options.code_digest,
        inputs=input_digests(options.cohort_dir, options.features, options.texts, options.slide_encoder),
    )
    tiles = FeatureStore(options.features, options.results) if options.features else None
    cases = load_cases(options.cohort_dir, tiles=tiles)
    texts = (lambda fold: StoredTexts(options.texts, fold)) if options.texts else None
    splits = read_table(options.splits, SPLITS)
    check = guard(
        cases,
        splits,
        where=f"{options.source}, {options.scheme}",
        slides=options.cohort_dir / "slides.parquet",
        features=options.features,
    )
    train_cell(cell, cases, splits, options.results, options.index, texts, check)


if __name__ == "__main__":
    arguments = script.parser(__doc__ or "")
    arguments.add_argument("--representation", required=True, help="the row's name")
    arguments.add_argument(
        "--parameters", required=True, type=script.json_object, help="JSON object: representation and its parameters"
    )
    arguments.add_argument("--slide-encoder", required=True, type=script.json_object, help="JSON object")
    arguments.add_argument("--source", required=True, help="cohort or union")
    arguments.add_argument("--cohort-dir", required=True, type=Path)
    arguments.add_argument(
        "--features", nargs="*", default=[], type=Path, help="merged feature indices, one per cohort"
    )
    arguments.add_argument("--texts", nargs="*", default=[], type=Path, help="text tables, one per cohort")
    arguments.add_argument("--splits", required=True, type=Path)
    arguments.add_argument("--scheme", required=True)
    arguments.add_argument("--seed", required=True, type=int)
    arguments.add_argument("--results", required=True, type=Path)
    arguments.add_argument("--code-digest", default="", help="digest of the code the representation reaches")
    arguments.add_argument("--index", required=True, type=Path, help="output: MODEL_INDEX table")
    script.run(main, arguments)
