"""Draw the pathway attributions of an explanation with their stability over seeds and their randomisation control."""

from __future__ import annotations

import argparse
from pathlib import Path

from pathomix.core import script


def main(options: argparse.Namespace) -> None:
    """Write attribution.{pdf,png}."""
    from pathomix.report.attribution import plot_attribution

    plot_attribution(options.explanation, options.name, options.output_dir / "attribution")


if __name__ == "__main__":
    arguments = script.parser(__doc__)
    arguments.add_argument("--explanation", type=Path, required=True, help="folder of explain_representation")
    arguments.add_argument("--name", required=True, help="words for the heading")
    arguments.add_argument("--output-dir", type=Path, required=True, help="folder of the figure")
    script.run(main, arguments)
