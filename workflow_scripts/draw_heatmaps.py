"""Draw what a trained model looks at over the slides of the explained patients."""

from argparse import Namespace
from pathlib import Path

from pathomix.core import script
from pathomix.report.heatmaps import draw_heatmaps


def main(options: Namespace) -> None:
    """Run."""
    draw_heatmaps(
        options.explanation,
        options.features,
        options.slides,
        options.roots,
        options.parameters,
        options.results,
        options.output,
        options.task,
    )


if __name__ == "__main__":
    arguments = script.parser(__doc__ or "")
    arguments.add_argument("--explanation", type=Path, required=True, help="folder of explain_representation")
    arguments.add_argument("--features", type=Path, nargs="+", required=True, help="merged feature indices it read")
    arguments.add_argument("--slides", type=Path, nargs="+", required=True, help="slides.parquet of its cohorts")
    arguments.add_argument("--roots", type=Path, nargs="+", required=True, help="where their slide paths start from")
    arguments.add_argument("--task", default="general", help="whose vector: a task of the model")
    arguments.add_argument("--parameters", type=script.json_object, default={}, help="heatmaps as JSON")
    arguments.add_argument("--results", type=Path, required=True, help="results folder")
    arguments.add_argument("--output", type=Path, required=True, help="folder to write to")
    script.run(main, arguments)
