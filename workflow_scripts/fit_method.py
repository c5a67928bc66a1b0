"""Fit one method on one cohort and scheme, every fold and seed, and write its predictions."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pathomix.core import script

if TYPE_CHECKING:
    from pathomix.methods.tuning import Tuning


def main(options: argparse.Namespace) -> None:
    """Run the cell."""
    from pathomix.cohort.cases import CASE_FILES
    from pathomix.cohort.loader import load_cases
    from pathomix.core.files import file_digest
    from pathomix.core.schemas import SPLITS
    from pathomix.core.tables import read_table
    from pathomix.evaluate.leakage import guard
    from pathomix.methods.run import Cell, run_cell
    from pathomix.slides.feature_store import FeatureStore

    tiles = FeatureStore(options.features, options.results) if options.features else None
    files = {name: options.cohort_dir / name for name in CASE_FILES}
    for number, path in enumerate(options.features or ()):
        files[f"features{number or ''}"] = path
    cases = load_cases(options.cohort_dir, tiles=tiles)
    if options.expression_vectors:
        from pathomix.smoothing.files import read_vectors

        files["expression_vectors"] = options.expression_vectors
        cases = replace(cases, expression_vectors=read_vectors(options.expression_vectors).vectors)
    if options.regions:
        from pathomix.slides.region_store import CohortRegions

        files |= {f"regions{number or ''}": path for number, path in enumerate(options.regions)}
        cases = replace(cases, regions=CohortRegions(options.regions))
    files |= {f"weights{number or ''}": path for number, path in enumerate(options.weights or ())}
    vectors = None
    if options.vectors:
        from pathomix.representations.store import EmbeddingStore

        by_seed = _by_seed(options.seeds, options.vectors)
        # The token is part of the name: a run on other vectors of the same files is another run.
        files |= {f"vectors-{options.token}-seed{seed}": path for seed, path in by_seed.items()}
        vectors = EmbeddingStore(by_seed, options.token)
    cell = Cell(
        study=options.study,
        name=options.method,
        cohort=options.cohort,
        scheme=options.scheme,
        configuration=options.parameters,
        tasks=options.tasks,
        seeds=options.seeds,
        code_digest=options.code_digest,
        inputs={name: file_digest(path) for name, path in files.items()},
    )
    splits = read_table(options.splits, SPLITS)
    check = guard(
        cases,
        splits,
        where=f"{options.cohort}, {options.scheme}",
        slides=options.cohort_dir / "slides.parquet",
        features=options.features or (),
    )
    run_cell(cell, cases, splits, options.results, options.index, vectors, check, _tuning(options))


def _tuning(options: argparse.Namespace) -> Tuning | None:
    from pathomix.cohort.inner_splits import INNER_SPLITS
    from pathomix.core.errors import PathomixError
    from pathomix.core.tables import read_table
    from pathomix.methods.tuning import Tuning

    if options.tuning is None and options.inner is None:
        return None
    if options.tuning is None or options.inner is None:
        raise PathomixError("--tuning and --inner go together", remedy="give both for a tuned row, else neither")
    if set(options.tuning) != {"grid", "budget"}:
        raise PathomixError("--tuning is not a grid and a budget", remedy='give {"grid": {...}, "budget": ...}')
    return Tuning(**options.tuning, inner=read_table(options.inner, INNER_SPLITS))


def _by_seed(seeds: tuple[int, ...], paths: list[Path]) -> dict[int, Path]:
    from pathomix.core.errors import PathomixError

    if len(paths) != len(seeds):
        raise PathomixError(
            f"{len(paths)} files of vectors for {len(seeds)} seeds",
            remedy="give --vectors one file per seed, in the order of --seeds",
        )
    return dict(zip(seeds, paths, strict=True))


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def _tasks(text: str) -> tuple[str, ...]:
    from pathomix.core.schemas import TASKS

    names = tuple(text.split(","))
    if not set(names) <= set(TASKS):
        raise argparse.ArgumentTypeError(f"expected some of {','.join(TASKS)}, got {text!r}")
    return names


if __name__ == "__main__":
    arguments = script.parser(__doc__)
    arguments.add_argument("--study", required=True)
    arguments.add_argument("--method", required=True, help="the row's name in the study")
    arguments.add_argument(
        "--parameters", required=True, type=script.json_object, help="JSON object: method and its parameters"
    )
    arguments.add_argument("--cohort", required=True)
    arguments.add_argument("--cohort-dir", required=True, type=Path)
    arguments.add_argument(
        "--features", type=Path, nargs="+", help="merged feature indices of the cohort, for methods on tiles"
    )
    arguments.add_argument(
        "--vectors", type=Path, nargs="+", help="embeddings of the cohort, one h5ad per seed, for methods on vectors"
    )
    arguments.add_argument(
        "--expression-vectors", type=Path, help="embedded expression of the cohort, for methods that read it"
    )
    arguments.add_argument(
        "--regions", type=Path, nargs="+", help="region files of the cohort, for methods on regions of interest"
    )
    arguments.add_argument(
        "--weights", type=Path, nargs="+", help="files of the encoder the method tunes: a new file is a new run"
    )
    arguments.add_argument(
        "--tuning",
        type=script.json_object,
        help="JSON object grid and budget, where settings are chosen by inner folds",
    )
    arguments.add_argument("--inner", type=Path, help="splits/<cohort>/<scheme>.inner.parquet, together with --tuning")
    arguments.add_argument("--token", default="general", help="which of the vectors of a patient")
    arguments.add_argument("--splits", required=True, type=Path)
    arguments.add_argument("--scheme", required=True)
    arguments.add_argument("--seeds", required=True, type=_numbers, help="for instance 0,1")
    arguments.add_argument("--tasks", required=True, type=_tasks, help="survival, subtype or both, comma-separated")
    arguments.add_argument("--results", required=True, type=Path)
    arguments.add_argument("--code-digest", default="", help="digest of the code the method reaches")
    arguments.add_argument("--index", required=True, type=Path, help="output: RUN_INDEX table")
    script.run(main, arguments)
