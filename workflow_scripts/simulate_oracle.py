"""The oracle of a simulated cohort as rows of a study: the true log-hazard, whole and by modality, as predictions."""

from __future__ import annotations

import argparse
from pathlib import Path

from pathomix.core import script


def main(options: argparse.Namespace) -> None:
    """Write predictions and run indices."""
    from pathomix.simulate.oracle_runs import Place, write_oracle_runs

    files = {"truth": options.truth, "patients": options.patients, "splits": options.splits}
    place = Place(options.study, options.cohort, options.scheme)
    write_oracle_runs(place, files, options.results, options.methods_prefix)


if __name__ == "__main__":
    arguments = script.parser(__doc__ or "")
    arguments.add_argument("--truth", type=Path, required=True, help="truth.parquet of the cohort")
    arguments.add_argument("--patients", type=Path, required=True, help="patients.parquet of the cohort")
    arguments.add_argument("--splits", type=Path, required=True, help="splits of the scheme")
    arguments.add_argument("--study", required=True, help="name of the study")
    arguments.add_argument("--cohort", required=True, help="name of the cohort")
    arguments.add_argument("--scheme", required=True, help="name of the splitting scheme")
    arguments.add_argument("--results", type=Path, required=True, help="results folder")
    arguments.add_argument("--methods-prefix", default="oracle", help="name of the row that knows everything")
    script.run(main, arguments)
