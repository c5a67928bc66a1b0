"""Simulated cohorts: tables, gene sets, cell atlas, truth and oracle (everything but the slides)."""

from __future__ import annotations

import argparse
from pathlib import Path

from pathomix.core import script


def main(options: argparse.Namespace) -> None:
    """Write all tables."""
    from pathomix.simulate.parameters import Parameters
    from pathomix.simulate.tables import write_simulation

    write_simulation(Parameters.from_dict(options.parameters), options.output_dir)


if __name__ == "__main__":
    arguments = script.parser(__doc__ or "")
    arguments.add_argument("--parameters", type=script.json_object, required=True, help="JSON object, {} = defaults")
    arguments.add_argument("--output-dir", type=Path, required=True, help="folder of the raw simulated files")
    script.run(main, arguments)
