"""Write the label texts of a cohort and scheme, and embed each distinct one."""

from __future__ import annotations

import argparse
from pathlib import Path

from pathomix.core import script
from pathomix.text.write import write_cohort_texts

WORDING = Path(__file__).resolve().parents[1] / "resources" / "prompts.yaml"


def main(options: argparse.Namespace) -> None:
    """Write one cohort's texts."""
    write_cohort_texts(
        options.name,
        options.patients,
        options.splits,
        options.wording,
        options.parameters,
        options.output,
        options.embeddings,
        options.cleaning,
    )


if __name__ == "__main__":
    arguments = script.parser(__doc__ or "")
    arguments.add_argument("--name", default="cohort", help="cohort name, for messages")
    arguments.add_argument("--patients", required=True, help="patients.parquet")
    arguments.add_argument("--splits", required=True, help="splits/<cohort>/<scheme>.parquet")
    arguments.add_argument("--wording", default=str(WORDING), help="words of the prompts")
    arguments.add_argument("--parameters", required=True, type=script.json_object, help="the texts' entry as JSON")
    arguments.add_argument("--output", required=True, help="text/<text>/<cohort>/<scheme>.parquet")
    arguments.add_argument("--embeddings", required=True, help="the same with the suffix .safetensors")
    arguments.add_argument("--cleaning", required=True, help="cleaning.tsv")
    script.run(main, arguments)
